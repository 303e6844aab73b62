package seal_test

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"switchhook.dev/switchhook/internal/seal"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func ring(t *testing.T, keys ...string) *seal.Ring {
	t.Helper()
	r, err := seal.Parse(strings.Join(keys, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatIsSealedOpensForItsOwnerAlone(t *testing.T) {
	r := ring(t, seal.NewKey())
	sealed := r.Seal("wh_1", secret)
	if strings.Contains(sealed, "whsec") || strings.Contains(sealed, secret[6:]) || !seal.IsSealed(sealed) {
		t.Errorf("sealed: %s", sealed)
	}
	if r.Seal("wh_1", secret) == sealed {
		t.Error("the same secret looks the same twice: no nonce")
	}
	if got, err := r.Open("wh_1", sealed); err != nil || got != secret {
		t.Error(got, err)
	}
	if _, err := r.Open("wh_2", sealed); !errors.Is(err, seal.ErrDamaged) {
		t.Error("for another webhook:", err)
	}
	if _, err := r.Open("wh_1", secret); !errors.Is(err, seal.ErrPlain) {
		t.Error("never sealed:", err)
	}
	if _, err := ring(t, seal.NewKey()).Open("wh_1", sealed); !errors.Is(err, seal.ErrUnknownKey) {
		t.Error("under another key:", err)
	}
	// Any bit that changes is noticed.
	for i := range sealed {
		changed := []byte(sealed)
		if changed[i] ^= 1; changed[i] == '\n' || changed[i] == '\r' {
			continue // base64 passes over line breaks
		}
		if got, err := r.Open("wh_1", string(changed)); err == nil {
			t.Fatalf("byte %d changed, and it opens: %q", i, got)
		}
	}
}

func TestTheFirstKeySealsAndAllOpen(t *testing.T) {
	old, fresh := seal.NewKey(), seal.NewKey()
	sealed := ring(t, old).Seal("wh_1", secret)
	both := ring(t, fresh, old)
	if got, err := both.Open("wh_1", sealed); err != nil || got != secret || both.Current(sealed) {
		t.Error(got, err)
	}
	again := both.Seal("wh_1", secret)
	if got, err := ring(t, fresh).Open("wh_1", again); err != nil || got != secret || !both.Current(again) {
		t.Error(got, err)
	}
}

func TestParse(t *testing.T) {
	k := seal.NewKey()
	for text, ok := range map[string]bool{
		k: true, k + "\n" + k: true, k + "," + k: true, " " + k + " # first\n\n# none\n" + k: true,
		"": false, "# " + k: false, "short": false, k[1:]: false, strings.TrimRight(k, "="): false,
		base64.StdEncoding.EncodeToString(make([]byte, 31)): false, k + "\nwrong": false,
	} {
		_, err := seal.Parse(text)
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && (strings.Contains(err.Error(), k[1:20]) || !strings.Contains(err.Error(), "openssl")) {
			t.Errorf("%v tells a key, or not how to make one", err)
		}
	}
}

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.key")
	if _, _, err := seal.ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	made, err := seal.MakeFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	read, exposed, err := seal.ReadFile(path)
	if err != nil || exposed {
		t.Fatal(exposed, err)
	}
	if got, err := read.Open("wh_1", made.Seal("wh_1", secret)); err != nil || got != secret {
		t.Error(got, err)
	}
	if _, err := seal.MakeFile(path); !errors.Is(err, fs.ErrExist) {
		t.Error("written over:", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, exposed, err = seal.ReadFile(path); err != nil || !exposed {
		t.Error("readable by all, and not a word:", err)
	}
	if _, _, err := seal.ReadFile(filepath.Dir(path)); err == nil {
		t.Error("a folder was read")
	}
}

// FuzzOpen: nothing but what was sealed opens, and nothing panics.
func FuzzOpen(f *testing.F) {
	r, err := seal.Parse(base64.StdEncoding.EncodeToString(make([]byte, seal.KeySize)))
	if err != nil {
		f.Fatal(err)
	}
	good := r.Seal("wh_1", secret)
	for _, s := range []string{good, "", "sealed1.", "sealed1..", "sealed1.a.b", secret, good[:len(good)-1]} {
		f.Add("wh_1", s)
	}
	f.Fuzz(func(t *testing.T, owner, s string) {
		if got, err := r.Open(owner, s); err == nil && (got != secret || owner != "wh_1") {
			t.Errorf("%q opens for %q as %q", s, owner, got)
		}
	})
}

// FuzzKeys: a file of keys is read or refused, and no error repeats what is in it.
func FuzzKeys(f *testing.F) {
	k := base64.StdEncoding.EncodeToString(make([]byte, seal.KeySize))
	for _, s := range []string{k, k + "\n" + k, "# x\n" + k + ",", "", "#", k[1:], "secretsecretsecretsecret"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := seal.Parse(text)
		if err != nil {
			for _, word := range strings.Fields(text) {
				if len(word) > 12 && strings.Contains(err.Error(), word) {
					t.Fatalf("%q repeats %q", err, word)
				}
			}
			return
		}
		if got, err := r.Open("wh_1", r.Seal("wh_1", secret)); err != nil || got != secret {
			t.Fatal(got, err)
		}
	})
}
