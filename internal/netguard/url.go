package netguard

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxURLLength is the longest URL accepted, in characters.
const maxURLLength = 2048

// URLError is the refusal of a webhook URL.
type URLError struct {
	// Reason is a sentence that says what is wrong and how to mend it.
	Reason string
	// Type is the code of the fault in a validation answer: one of the Type constants.
	Type string
}

// Error returns the reason.
func (e *URLError) Error() string { return e.Reason }

// The codes of a [URLError]. The first three are pydantic's own.
const (
	TypeParsing        = "url_parsing"
	TypeScheme         = "url_scheme"
	TypeTooLong        = "url_too_long"
	TypeUserInfo       = "url_user_info"
	TypePrivateAddress = "url_private_address"
	TypePort           = "url_port"
)

// CheckURL returns nil where raw is a URL that an endpoint may have, else a
// *URLError. It reads the text only: a name that resolves to a private address
// passes, and is stopped by [Policy.Dialer].
func (p Policy) CheckURL(raw string) error {
	if err := p.checkURL(raw); err != nil {
		return err
	}
	return nil // not err: a nil *URLError would be an error that is not nil
}

func (p Policy) checkURL(raw string) *URLError {
	if err := checkText(raw); err != nil {
		return err
	}
	u, err := url.Parse(raw)
	if err != nil {
		return parsing("the URL cannot be read: write it as https://host/path")
	}
	if err := p.checkScheme(u); err != nil {
		return err
	}
	if u.Opaque != "" || u.Hostname() == "" {
		return parsing("the URL has no host: write it as https://host/path")
	}
	if u.User != nil {
		return &URLError{Type: TypeUserInfo, Reason: "a user name or password in the URL is not accepted: " +
			"remove it, and check the signature of each request instead"}
	}
	if err := p.checkURLPort(u); err != nil {
		return err
	}
	return p.checkHost(u.Hostname())
}

// checkText refuses what no parser should have to make sense of.
func checkText(raw string) *URLError {
	switch {
	case raw == "":
		return parsing("the URL is empty: give an absolute https URL")
	case utf8.RuneCountInString(raw) > maxURLLength:
		return &URLError{Type: TypeTooLong, Reason: fmt.Sprintf(
			"the URL is longer than %d characters: use a shorter one", maxURLLength)}
	case !utf8.ValidString(raw):
		return parsing("the URL is not valid UTF-8: percent-encode its special characters")
	case strings.ContainsFunc(raw, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return parsing("the URL contains a space or a control character: remove it, or percent-encode it")
	}
	return nil
}

func (p Policy) checkScheme(u *url.URL) *URLError {
	switch {
	case u.Scheme == "https", u.Scheme == "http" && p.AllowHTTP:
		return nil
	case u.Scheme == "":
		return parsing("the URL is not absolute: begin it with https://")
	case u.Scheme == "http":
		return &URLError{Type: TypeScheme, Reason: `"http" is not accepted: ` +
			"use an https URL, or start the server with --allow-http or --dev"}
	default:
		return &URLError{Type: TypeScheme, Reason: fmt.Sprintf("%q is not accepted: use an https URL", u.Scheme)}
	}
}

func (p Policy) checkURLPort(u *url.URL) *URLError {
	port, n := u.Port(), uint64(443)
	switch {
	case port != "":
		var err error
		if n, err = strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return parsing(fmt.Sprintf("the port %q is not valid: use one from 1 to 65535, or leave it out", port))
		}
	case u.Scheme == "http":
		n = 80
	}
	if err := p.checkPort(uint16(n)); err != nil {
		return &URLError{Type: TypePort, Reason: err.Error()}
	}
	return nil
}

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// checkHost judges the host without its brackets and port.
func (p Policy) checkHost(host string) *URLError {
	if strings.Contains(host, ":") {
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return parsing(fmt.Sprintf("%q is not an IPv6 address: mend it, or use a host name", host))
		}
		return p.checkLiteral(host, addr)
	}

	name, err := asciiHost(host)
	if err != nil {
		return parsing(fmt.Sprintf("%q is not a host name: use letters, digits, hyphens and dots", host))
	}
	switch {
	case name == "localhost" || strings.HasSuffix(name, ".localhost"):
		if p.checkAddr(loopback4) != nil && p.checkAddr(netip.IPv6Loopback()) != nil {
			return &URLError{Type: TypePrivateAddress, Reason: privateReason(host)}
		}
	case endsInNumber(name):
		addr, ok := parseLooseIPv4(name)
		if !ok {
			return parsing(fmt.Sprintf("%q is not an IPv4 address: write it as four numbers from 0 to 255, or use a host name", host))
		}
		return p.checkLiteral(host, addr)
	}
	return nil
}

func (p Policy) checkLiteral(host string, addr netip.Addr) *URLError {
	if err := p.checkAddr(addr); err != nil {
		return &URLError{Type: TypePrivateAddress, Reason: privateReason(host)}
	}
	return nil
}

// asciiHost gives the name that an HTTP client would look up: lower case, without
// the final dot, and with international characters mapped, which turns spellings
// such as ①②⑦。⓪.0.1 into the digits they stand for.
func asciiHost(host string) (string, error) {
	name := host
	if strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		var err error
		if name, err = idna.Lookup.ToASCII(name); err != nil {
			return "", err
		}
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if len(name) > 253 {
		return "", errHostName
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notHostRune) {
			return "", errHostName
		}
	}
	return name, nil
}

var errHostName = errors.New("not a host name")

// notHostRune lets underscores pass: names given to containers have them.
func notHostRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// endsInNumber tells a name from an address in any of the old notations: no
// top-level domain is a number.
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if strings.HasPrefix(last, "0x") {
		return !strings.ContainsFunc(last[2:], func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) })
	}
	return !strings.ContainsFunc(last, func(r rune) bool { return r < '0' || r > '9' })
}

// parseLooseIPv4 reads what inet_aton reads, since some resolvers do too: one to
// four parts, each decimal, octal (0…) or hexadecimal (0x…), of which the last
// fills all the bytes that are left. 127.1, 0177.0.0.1 and 2130706433 are 127.0.0.1.
func parseLooseIPv4(name string) (netip.Addr, bool) {
	parts := strings.Split(name, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var sum uint64
	for i, part := range parts {
		n, ok := parseLooseNumber(part)
		if !ok {
			return netip.Addr{}, false
		}
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (4 - i)
		}
		if n >= 1<<bits {
			return netip.Addr{}, false
		}
		sum = sum<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), true
}

func parseLooseNumber(s string) (uint64, bool) {
	base := 10
	switch {
	case s == "0x": // browsers take it for 0
		return 0, true
	case strings.HasPrefix(s, "0x"):
		s, base = s[2:], 16
	case len(s) > 1 && s[0] == '0':
		s, base = s[1:], 8
	}
	n, err := strconv.ParseUint(s, base, 64)
	return n, err == nil
}

func parsing(reason string) *URLError { return &URLError{Type: TypeParsing, Reason: reason} }
