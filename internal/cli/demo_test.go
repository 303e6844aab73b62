package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestDemo plays the whole show, receivers and all.
func TestDemo(t *testing.T) {
	var program struct {
		Demo DemoCmd `cmd:""`
	}
	var out bytes.Buffer
	parser, err := kong.New(&program, kong.Writers(&out, &out))
	if err != nil {
		t.Fatal(err)
	}
	kctx, err := parser.Parse([]string{"demo", "--exit"})
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), kctx); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`Ava's own endpoint got "The blue one." with 2 messages of history, signature verified`,
		`the default endpoint got "Hello Ben!" with 0 messages of history`,
		"the default endpoint fails: answers 500",
		`the default endpoint got "Ben, are you all right?" with 1 messages of history`,
		"Ava's got 2, the default 2.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not say %q:\n%s", want, out.String())
		}
	}
}

func TestServeRefusesWhatCannotBe(t *testing.T) {
	for _, c := range []struct{ flags, says string }{
		{"--database=mysql:x", "write it as sqlite:FILE"},
		{"--database=x", "no database URL"},
		{"--database=postgres://127.0.0.1:1/x", "cannot open the database"},
		{"--api-key=short", "at least 16"},
		{"--retry-schedule=-1s", "not between"},
		{"--listen=nowhere:x", "cannot listen"},
	} {
		var program struct {
			Serve ServeCmd `cmd:""`
		}
		var out bytes.Buffer
		parser, err := kong.New(&program, kong.Writers(&out, &out), kong.Exit(func(int) {}))
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"serve", "--listen=127.0.0.1:0", "--database=sqlite:" + t.TempDir() + "/x.db", c.flags}
		kctx, err := parser.Parse(args)
		if err == nil {
			err = Run(t.Context(), kctx)
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v does not say %q", c.flags, err, c.says)
		}
	}
}
