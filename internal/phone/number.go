package phone

import (
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"
)

// MaxParticipant is how long the name of the other side may be: the longest
// e-mail address, 254 characters (RFC 5321, 4.5.3.1.3, less its brackets).
const MaxParticipant = 254

// ParseNumber reads a phone number in any common notation and returns it in
// E.164 with its country (ISO 3166-1 alpha-2, "" for numbers of no country).
// country is where a number without "+" is taken to be; "" is "US".
// The error is an *Error with code Invalid and no faults.
func ParseNumber(s, country string) (e164, region string, err error) {
	if country == "" {
		country = "US"
	}
	if len(s) > 64 {
		return "", "", Errorf(Invalid, "that is too long for a phone number: write it as +, country code and number, like +15551234567")
	}
	n, perr := phonenumbers.Parse(s, strings.ToUpper(country))
	if perr != nil || !phonenumbers.IsPossibleNumber(n) {
		return "", "", Errorf(Invalid, "%q is not a phone number: write it as +, country code and number, like +15551234567", s)
	}
	return phonenumbers.Format(n, phonenumbers.E164), phonenumbers.GetRegionCodeForNumber(n), nil
}

// ParseParticipant reads the other side of a conversation: a phone number in
// any common notation becomes E.164; a short code, a sender's name or an e-mail
// address is kept as it is.
func ParseParticipant(s string) (string, error) {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return "", Errorf(Invalid, "it is empty: give the other side's phone number, like +15559876543")
	case len(s) > MaxParticipant:
		return "", Errorf(Invalid, "it is longer than %d characters: give a phone number, like +15559876543", MaxParticipant)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", Errorf(Invalid, "it holds control characters: give a phone number, like +15559876543")
	}
	if isE164(s) {
		return s, nil
	}
	if strings.ContainsFunc(s, unicode.IsLetter) {
		return s, nil
	}
	if e164, _, err := ParseNumber(s, "US"); err == nil {
		return e164, nil
	}
	return s, nil
}

// isE164 recognises numbers that need no parsing, as providers send them: + and 8
// to 15 digits (ITU-T E.164, 6.2.1). It keeps the general parser, which is for
// people, off the hot path.
func isE164(s string) bool {
	if len(s) < 9 || len(s) > 16 || s[0] != '+' || s[1] == '0' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// LookupNumber is how an own number is looked up: what ParseNumber would have
// stored it as. The error is an *Error with code Invalid.
func LookupNumber(s string) (string, error) {
	if s = strings.TrimSpace(s); isE164(s) {
		return s, nil
	}
	e164, _, err := ParseNumber(s, "")
	return e164, err
}
