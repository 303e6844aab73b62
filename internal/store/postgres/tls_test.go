package postgres

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
)

// with is a URL with parameters of its own.
func with(t *testing.T, databaseURL, user, host string, parameters ...string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.Host = url.User(user), host+":"+u.Port()
	q := u.Query()
	for i := 0; i < len(parameters); i += 2 {
		q.Set(parameters[i], parameters[i+1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// TestTLS: whom it talks to is checked, and who is not let in is told in a sentence
// what is wrong.
func TestTLS(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, pgtest.Options{Admit: []string{
		"host all unwanted all reject",
		"hostnossl all guarded,certified all reject",
		"hostssl all certified all cert",
		"hostssl all guarded all trust",
	}})
	for _, role := range []string{"guarded", "certified", "unwanted"} {
		c.Exec(t, "CREATE ROLE "+role+" LOGIN")
	}
	plain := c.Database(t)
	execAll(t, plain, "CREATE SCHEMA guarded AUTHORIZATION guarded; CREATE SCHEMA certified AUTHORIZATION certified")
	ours, others := pgtest.NewAuthority(t), pgtest.NewAuthority(t)
	refused := func(what, url string, words ...string) {
		t.Helper()
		s, err := Open(t.Context(), url)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: it connects", what)
			return
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q, want %q in it", what, err, w)
			}
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q is more than a line", what, err)
		}
	}
	encrypted := func(what, url string) {
		t.Helper()
		s, err := Open(t.Context(), url)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		defer s.Close()
		if err := s.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		var all, tls int
		err = s.pool.QueryRow(t.Context(), "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = current_user").Scan(&all, &tls)
		if err != nil || all == 0 || tls != all {
			t.Errorf("%s: %d of %d connections are encrypted (%v)", what, tls, all, err)
		}
	}

	refused("no TLS there", with(t, plain, "switchhook", "127.0.0.1", "sslmode", "require"), "speaks no TLS", "postgresql.conf")
	refused("nobody there", with(t, plain, "switchhook", "127.0.0.1", "port", "1"), "does it run")

	certificate, key := ours.Issue(t, "localhost", time.Now().Add(time.Hour))
	c.ServeTLS(t, ours, certificate, key)
	full := func(user, host string, more ...string) string {
		return with(t, plain, user, host, append([]string{"sslmode", "verify-full", "sslrootcert", ours.File}, more...)...)
	}
	encrypted("verify-full", full("guarded", "localhost"))
	refused("another authority", full("guarded", "localhost", "sslrootcert", others.File), "by an authority that this machine does not know", "sslrootcert")
	refused("another name", full("guarded", "127.0.0.1"), "not for the host", "127.0.0.1")
	encrypted("verify-ca looks at no name", full("guarded", "127.0.0.1", "sslmode", "verify-ca"))
	refused("without TLS", with(t, plain, "guarded", "localhost", "sslmode", "disable"), "pg_hba.conf")
	refused("not let in", full("unwanted", "localhost"), "does not let this user in")

	// Its own certificate stands for a password.
	refused("no certificate", full("certified", "localhost"), "does not let this user in", "sslcert")
	mine, mineKey := ours.Issue(t, "certified", time.Now().Add(time.Hour))
	encrypted("its certificate", full("certified", "localhost", "sslcert", mine, "sslkey", mineKey))
	refused("somebody else's", full("certified", "localhost", "sslcert", certificate, "sslkey", key), "does not let this user in")

	certificate, key = ours.Issue(t, "localhost", time.Now().Add(-time.Hour))
	c.ServeTLS(t, ours, certificate, key)
	refused("a certificate of yesterday", full("guarded", "localhost"), "has expired")
}
