package browser

import (
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"switchhook.dev/switchhook/test/trial"
)

func TestSigningInAndOut(t *testing.T) {
	s := trial.Start(t, later)
	var reader struct{ ID, Key string }
	s.OK("POST", "/v1/keys", trial.Object{"name": "looks only", "scopes": []string{"read"}}, &reader)
	x := newTab(t, s.URL, looks[0])

	x.open("/deliveries?status=failed")
	x.at("/login?next=%2Fdeliveries%3Fstatus%3Dfailed")
	x.fill("input[name=key]", "sk_wrong")
	x.click("main button|Sign in")
	x.says("unknown or revoked")
	x.expect("401")
	x.fill("input[name=key]", reader.Key)
	x.click("main button|Sign in")
	x.at("/deliveries?status=failed")
	if seen := x.eval("document.cookie"); seen != "" {
		t.Errorf("scripts see the cookie: %q", seen)
	}
	cookies, err := chromedp.Call(x.ctx, network.GetCookies, network.GetCookiesParams{})
	if err != nil || len(cookies.Cookies) != 1 || !cookies.Cookies[0].HTTPOnly || cookies.Cookies[0].SameSite != network.CookieSameSiteLax {
		t.Errorf("%+v: %v", cookies.Cookies, err)
	}

	// A key that may only look: no keys, no buttons, and the server says so too.
	x.silent("Audit")
	x.open("/keys")
	x.says("this needs admin")
	x.expect("403")
	x.open("/agents/default")
	x.silent("Set the webhook")

	// Keys.
	x.keys("?")
	x.is(`document.querySelector("#keys-help").open`)
	x.click("dialog button|Close")
	x.is(`!document.querySelector("#keys-help").open`)
	x.keys("gd")
	x.at("/deliveries")

	// Revoked: whoever signed in with it is out.
	s.OK("DELETE", "/v1/keys/"+reader.ID, nil, nil)
	x.open("/agents")
	x.at("/login?next=%2Fagents")
	x.signIn(s.Key)
	x.click("header button|Sign out")
	x.at("/login")
	x.open("/")
	x.at("/login")
}
