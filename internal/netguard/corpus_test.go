package netguard

import (
	"bufio"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
)

// corpus reads hosts from a file, one a line; # begins a comment, \u a code point.
func corpus(t testing.TB, path string) (hosts []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.Contains(line, `\u`) {
			if line, err = strconv.Unquote(`"` + line + `"`); err != nil {
				t.Fatalf("%s: %v", lines.Text(), err)
			}
		}
		hosts = append(hosts, line)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return hosts
}

// TestCorpus: every spelling of an address that is not public is refused when it is
// configured, and every one that is an address, also when it is dialled.
func TestCorpus(t *testing.T) {
	refused, accepted := corpus(t, "testdata/refused.txt"), corpus(t, "testdata/accepted.txt")
	if len(refused) < 220 || len(accepted) < 50 {
		t.Fatalf("%d and %d hosts", len(refused), len(accepted))
	}
	dialled := 0
	for _, host := range refused {
		for _, raw := range []string{"https://" + host + "/hook", "https://" + host + ":8443/", "http://" + host} {
			if (Policy{AllowHTTP: true}).CheckURL(raw) == nil {
				t.Errorf("%s is accepted", raw)
			}
		}
		if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
			dialled++
			if (Policy{}).checkDial("tcp", netip.AddrPortFrom(addr, 443).String()) == nil {
				t.Errorf("%s is dialled", host)
			}
		}
	}
	for _, host := range accepted {
		raw := "https://" + host + "/hook"
		if err := (Policy{}).CheckURL(raw); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
			dialled++
			if err := (Policy{}).checkDial("tcp", netip.AddrPortFrom(addr, 443).String()); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
	t.Logf("%d refused, %d accepted, %d of all dialled", len(refused), len(accepted), dialled)
}

func TestPorts(t *testing.T) {
	p := Policy{AllowHTTP: true, Ports: []uint16{443, 8443}}
	for raw, want := range map[string]string{
		"https://example.com/": "", "https://example.com:443/": "", "https://example.com:8443/": "",
		"https://example.com:22/": TypePort, "https://example.com:444/": TypePort, "http://example.com/": TypePort, "https://8.8.8.8:25/": TypePort,
	} {
		check(t, p, raw, want)
	}
	for _, private := range []bool{false, true} {
		p.AllowPrivate = private
		d := p.Dialer(nil)
		if err := d.ControlContext(t.Context(), "tcp4", "8.8.8.8:443", nil); err != nil {
			t.Error(err)
		}
		if err := d.ControlContext(t.Context(), "tcp4", "8.8.8.8:25", nil); err == nil || !strings.Contains(err.Error(), "use 443 or 8443") {
			t.Error(err)
		}
	}
}

func TestNetworks(t *testing.T) {
	p := Policy{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32"), netip.MustParsePrefix("127.0.0.0/8")}}
	for host, allowed := range map[string]bool{
		"10.1.2.3": true, "10.2.0.1": false, "10.0.255.255": false, "0x0a010203": true, "[fd00:1::5]": true, "[fd00:2::5]": false,
		"[::ffff:10.1.2.3]": true, "[::ffff:10.2.2.3]": false, "[64:ff9b::10.1.2.3]": false, "[2002:a01:203::]": false, "169.254.169.254": false,
		"localhost": true, "127.0.0.1": true, "[::1]": false, "8.8.8.8": true,
	} {
		want := TypePrivateAddress
		if allowed {
			want = ""
		}
		check(t, p, "https://"+host+"/", want)
		if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
			if err := p.checkDial("tcp", netip.AddrPortFrom(addr, 443).String()); (err == nil) != allowed {
				t.Errorf("%s dialled: %v", host, err)
			}
		}
	}
	check(t, Policy{AllowNetworks: p.AllowNetworks[:2]}, "https://localhost/", TypePrivateAddress)
}
