package phone

import (
	"sort"
	"strings"
	"testing"
)

func TestParseNumber(t *testing.T) {
	for _, c := range []struct{ in, country, want, region string }{
		{"+12025550101", "", "+12025550101", "US"},
		{"(202) 555-0101", "", "+12025550101", "US"},
		{"202.555.0101", "us", "+12025550101", "US"},
		{"1-202-555-0101", "", "+12025550101", "US"},
		{"030 901820", "DE", "+4930901820", "DE"},
		{"+49 (0)30 901820", "US", "+4930901820", "DE"},
		{"020 7946 0958", "GB", "+442079460958", "GB"},
		{"tel:+1-202-555-0101", "", "+12025550101", "US"},
	} {
		got, region, err := ParseNumber(c.in, c.country)
		if got != c.want || region != c.region || err != nil {
			t.Errorf("%q in %q: %q %q %v", c.in, c.country, got, region, err)
		}
	}
	for _, bad := range []string{"", "hello", "12", "+", "+999999999999999999", strings.Repeat("1", 100), "\x00"} {
		if got, _, err := ParseNumber(bad, ""); CodeOf(err) != Invalid {
			t.Errorf("%q: %q %v", bad, got, err)
		}
	}
}

func TestParseParticipant(t *testing.T) {
	for in, want := range map[string]string{
		"+12025550199": "+12025550199", "(202) 555-0199": "+12025550199", "72345": "72345",
		"ACME": "ACME", " ann@example.com ": "ann@example.com",
	} {
		if got, err := ParseParticipant(in); got != want || err != nil {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "  ", "a\x00b", strings.Repeat("x", MaxParticipant+1)} {
		if got, err := ParseParticipant(bad); CodeOf(err) != Invalid {
			t.Errorf("%q: %q %v", bad, got, err)
		}
	}
}

// FuzzNumbers: nothing panics, and what is kept is kept as it would be looked up.
func FuzzNumbers(f *testing.F) {
	for _, s := range []string{"+12025550101", "(202) 555-0101", "72345", "", "tel:+1;ext=5", "+0000000000", "１２３"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if e164, _, err := ParseNumber(s, ""); err == nil {
			if again, err := LookupNumber(e164); again != e164 || err != nil {
				t.Errorf("%q is kept as %q and looked up as %q (%v)", s, e164, again, err)
			}
		}
		if p, err := ParseParticipant(s); err == nil {
			if again, err := ParseParticipant(p); again != p || err != nil {
				t.Errorf("%q becomes %q, and then %q (%v)", s, p, again, err)
			}
		}
	})
}

func TestIDsSortInTheOrderTheyWereMade(t *testing.T) {
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = NewID(PrefixEvent)
	}
	if !sort.StringsAreSorted(ids) {
		t.Error("they do not sort")
	}
	if d := DeliveryID(ids[0]); !strings.HasPrefix(d, "del_") || EventID(d) != ids[0] {
		t.Error(d, ids[0])
	}
}
