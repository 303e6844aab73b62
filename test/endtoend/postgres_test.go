package endtoend

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"switchhook.dev/switchhook/internal/seal"
	"switchhook.dev/switchhook/internal/store/postgres/pgtest"
	"switchhook.dev/switchhook/test/trial"
)

func sqliteFile(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "test.db") }

// TestOnPostgreSQL runs tests of this package once more, in a process of their own,
// on the other store: seen from outside there is no difference. They are those that
// say most of a store; with SWITCHHOOK_TEST_ON_POSTGRES=1 all can be run on it.
func TestOnPostgreSQL(t *testing.T) {
	if os.Getenv(trial.OnPostgres) != "" {
		t.Skip("this is it")
	}
	pgtest.URL(t) // or it is left out
	cmd := exec.Command(os.Args[0], "-test.run=TestA.*Webhook|TestPending|TestMessages|TestAnIdempotencyKey|TestABatch|TestTheStream|TestRetryAfter|TestStrict|TestSIGTERM")
	cmd.Env = append(os.Environ(), trial.OnPostgres+"=1", "SWITCHHOOK_SECRET_KEY="+seal.NewKey())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
