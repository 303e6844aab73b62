package netguard

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestCheckURL(t *testing.T) {
	var (
		strict  = Policy{}
		http    = Policy{AllowHTTP: true}
		private = Policy{AllowPrivate: true}
		dev     = Policy{AllowHTTP: true, AllowPrivate: true}
	)
	tests := []struct {
		url    string
		policy Policy
		want   string // the type of the fault; "" where the URL is accepted
	}{
		// Plain ones.
		{"https://example.com", strict, ""},
		{"https://example.com/hook?agent=1", strict, ""},
		{"https://example.com/hook#part", strict, ""},
		{"HTTPS://EXAMPLE.COM./hook", strict, ""},
		{"https://example.com:8443/hook", strict, ""},
		{"https://example.com:/hook", strict, ""},
		{"https://my_service.example.com/", strict, ""},
		{"https://bücher.example/", strict, ""},
		{"https://xn--bcher-kva.example/", strict, ""},
		{"https://example.com/caf%C3%A9%20bar", strict, ""},
		{"https://8.8.8.8/", strict, ""},
		{"https://134744072/", strict, ""},
		{"https://[2606:4700:4700::1111]:8443/", strict, ""},
		{"https://[::ffff:8.8.8.8]/", strict, ""},
		{"https://1.example/", strict, ""},
		{"https://127.0.0.1.example/", strict, ""},
		{"https://localhost.example/", strict, ""},

		// Scheme.
		{"http://example.com/", strict, TypeScheme},
		{"http://example.com/", http, ""},
		{"http://example.com/", private, TypeScheme},
		{"ftp://example.com/", dev, TypeScheme},
		{"file:///etc/passwd", dev, TypeScheme},
		{"javascript:alert(1)", dev, TypeScheme},
		{"localhost:8080", dev, TypeScheme},

		// Shape.
		{"", strict, TypeParsing},
		{"example.com/hook", strict, TypeParsing},
		{"//example.com/hook", strict, TypeParsing},
		{"/hook", strict, TypeParsing},
		{"https:", strict, TypeParsing},
		{"https://", strict, TypeParsing},
		{"https:///hook", strict, TypeParsing},
		{"https://:443/", strict, TypeParsing},
		{"https:example.com", strict, TypeParsing},
		{"https://example..com/", strict, TypeParsing},
		{"https://.example.com/", strict, TypeParsing},
		{"https://exa,mple.com/", strict, TypeParsing},
		{"https://example.com%00/", strict, TypeParsing},
		{`https://example.com\@10.0.0.1/`, strict, TypeParsing},
		{"https://" + strings.Repeat("a", 64) + ".com/", strict, TypeParsing},
		{"https://" + strings.Repeat("a.", 130) + "com/", strict, TypeParsing},
		{" https://example.com/", strict, TypeParsing},
		{"https://example.com/a b", strict, TypeParsing},
		{"https://example.com/\n", strict, TypeParsing},
		{"https://example.com/\u00a0", strict, TypeParsing},
		{"https://example.com/\u2028", strict, TypeParsing},
		{"https://example.com/\xff", strict, TypeParsing},
		{"https://example.com/%zz", strict, TypeParsing},
		{"https://[::1/", strict, TypeParsing},
		{"https://[1.2.3.4]/", strict, TypeParsing},

		// User info.
		{"https://user@example.com/", strict, TypeUserInfo},
		{"https://user:secret@example.com/", dev, TypeUserInfo},
		{"https://@example.com/", strict, TypeUserInfo},

		// Port.
		{"https://example.com:0/", strict, TypeParsing},
		{"https://example.com:65535/", strict, ""},
		{"https://example.com:65536/", strict, TypeParsing},
		{"https://example.com:http/", strict, TypeParsing},
		{"https://example.com:-1/", strict, TypeParsing},

		// Length, in characters.
		{"https://example.com/" + strings.Repeat("a", maxURLLength-20), strict, ""},
		{"https://example.com/" + strings.Repeat("é", maxURLLength-20), strict, ""},
		{"https://example.com/" + strings.Repeat("a", maxURLLength-19), strict, TypeTooLong},

		// No address at all.
		{"https://256.1.1.1/", strict, TypeParsing},
		{"https://1.2.3.4.5/", strict, TypeParsing},
		{"https://1.2.3.08/", strict, TypeParsing},
		{"https://4294967296/", strict, TypeParsing},
		{"https://99999999999999999999999/", strict, TypeParsing},
		{"https://host.5/", strict, TypeParsing},
		{"https://256.1.1.1/", private, TypeParsing},
	}
	for _, tt := range tests {
		check(t, tt.policy, tt.url, tt.want)
	}
}

func TestCheckURLPrivate(t *testing.T) {
	hosts := []string{
		// By name.
		"localhost", "LOCALHOST", "localhost.", "app.localhost", "a.b.LocalHost.", "ｌocalhost",
		// One address in many spellings.
		"127.0.0.1", "127.0.0.1.", "127.0.1", "127.1", "2130706433", "0x7f000001", "0X7F.0.0.1", "0x7f.1",
		"017700000001", "0177.0.0.1", "0177.0.0.01", "0x7f.0.0x0.01", "00000177.1", "127.0x1", "127.0.0.0x1",
		"127。0。0。1", "①②⑦.0.0.1", "１２７.0.0.1",
		// The other ranges.
		"0", "0.0.0.0", "0x", "0x0", "10.0.0.1", "10.1", "167772161", "100.64.0.1", "169.254.169.254", "0xa9fea9fe",
		"0251.0376.0251.0376", "2852039166", "172.16.0.1", "172.31.255.255", "192.168.1.1", "192.168.257", "198.18.0.1",
		"192.0.2.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "4294967295",
		// IPv6, also where it carries an IPv4 address.
		"[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::FFFF:7f00:1]", "[::ffff:10.0.0.1]",
		"[fe80::1]", "[fe80::1%25eth0]", "[2606:4700:4700::1111%25eth0]", "[::1%25lo]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]",
		"[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[2002:7f00:1::]", "[2001::1]", "[2001:db8::1]", "[100::1]", "[fec0::1]",
	}
	for _, host := range hosts {
		check(t, Policy{}, "https://"+host+"/hook", TypePrivateAddress)
		check(t, Policy{AllowHTTP: true}, "http://"+host+":8080/hook", TypePrivateAddress)
		check(t, Policy{AllowPrivate: true}, "https://"+host+":8443/hook", "")
	}
}

func TestCheckURLReasons(t *testing.T) {
	tests := map[string]string{
		"http://example.com/":   `"http" is not accepted: use an https URL, or start the server with --allow-http or --dev`,
		"https://10.0.0.1/hook": "10.0.0.1 is a private address, which this server does not call: use a public address, or start the server with --allow-networks or --allow-private-networks",
		"https://h:70000/":      `the port "70000" is not valid: use one from 1 to 65535, or leave it out`,
	}
	for raw, want := range tests {
		err := Policy{}.CheckURL(raw)
		if err == nil || err.Error() != want {
			t.Errorf("CheckURL(%q) = %v, want %s", raw, err, want)
		}
	}
}

func check(t *testing.T, p Policy, raw, want string) {
	t.Helper()
	err := p.CheckURL(raw)
	if want == "" {
		if err != nil {
			t.Errorf("%+v.CheckURL(%q) = %v, want it accepted", p, raw, err)
		}
		return
	}
	var fault *URLError
	if !errors.As(err, &fault) || fault.Type != want {
		t.Errorf("%+v.CheckURL(%q) = %v, want %s", p, raw, err, want)
		return
	}
	if !strings.Contains(fault.Reason, ": ") {
		t.Errorf("CheckURL(%q): %q does not say how to mend it", raw, fault.Reason)
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/hook", "http://u:p@[::ffff:127.0.0.1%25lo]:80/", "https://0x7f.1/", "https://①②⑦。1",
		"https://2130706433:443", "localhost:80", "https://a.localhost.", "https://\xff", "https://example.com\\@10.0.0.1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if (Policy{}).CheckURL(raw) != nil {
			return
		}
		// What the strictest policy accepts, every policy does.
		if err := (Policy{AllowHTTP: true, AllowPrivate: true}).CheckURL(raw); err != nil {
			t.Fatalf("accepted strictly, refused freely: %v", err)
		}
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatalf("accepted, but does not parse: %v", err)
		}
		if u.Scheme != "https" || u.User != nil || u.Hostname() == "" {
			t.Fatalf("accepted %q", raw)
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
			if addr = addr.Unmap(); addr.IsLoopback() || addr.IsPrivate() || addr.IsUnspecified() || addr.Zone() != "" {
				t.Fatalf("accepted the address %s", addr)
			}
		}
	})
}
