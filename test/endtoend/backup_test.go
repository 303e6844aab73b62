package endtoend

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// command runs the program with arguments, and returns what it printed.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, args...).CombinedOutput()
	return string(out), err
}

// A backup is made under load, and restored under load: everything that was
// answered before the backup began is there, and arrives.
func TestARestoreLosesNothingOlderThanTheBackup(t *testing.T) {
	dir := t.TempDir()
	database, backup := filepath.Join(dir, "test.db"), filepath.Join(dir, "backup.db")
	r := newReceiver(t)
	p := start(t, "sqlite:"+database)
	w := &world{t: t, url: p.url, key: chosenKey}
	w.agent(avasNumber)
	w.set("", r.URL)

	var mu sync.Mutex
	accepted := []string{}
	began := []int{} // of each, how many were accepted before it was sent
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(accepted) }
	reach := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(3 * time.Minute); count() < n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d events in three minutes", count())
			}
		}
	}
	done := make(chan struct{})
	var senders sync.WaitGroup
	for s := range 4 {
		senders.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				before := count()
				// While the server goes over to the backup it is away for a moment.
				if id, err := trySend(p.url, fmt.Sprintf("+1303555%04d", s), fmt.Sprint("text ", i)); err == nil {
					mu.Lock()
					accepted, began = append(accepted, id), append(began, before)
					mu.Unlock()
				} else {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	reach(300)
	before := count()
	if out, err := command(t, "backup", "--database=sqlite:"+database, backup); err != nil || !strings.Contains(out, "holds everything") {
		t.Fatal(err, out)
	}
	if out, err := command(t, "backup", "--database=sqlite:"+database, backup); err == nil || !strings.Contains(out, "there already") {
		t.Error("over a backup that is there:", err, out)
	}
	after := count()
	reach(after + 300)
	replaced := count()
	if out, err := command(t, "restore", "--database=sqlite:"+database, backup); err != nil || !strings.Contains(out, "has gone over") {
		t.Fatal(err, out)
	}
	restored := count()
	for deadline := time.Now().Add(3 * time.Minute); w.try("GET", "/readyz", nil, nil) != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server is not back")
		}
	}
	reach(restored + 50) // it takes events as before
	close(done)
	senders.Wait()
	settleAll(w)

	missing := 0
	for i, id := range accepted {
		var d deliveryView
		code, _ := w.call("GET", "/v1/deliveries/"+id, nil)
		switch {
		case i < before && code != http.StatusOK:
			t.Errorf("%s, older than the backup: %d", id, code)
		case i < before:
			if w.ok("GET", "/v1/deliveries/"+id, nil, &d); d.Status != "success" {
				t.Errorf("%s, older than the backup, is %s", id, d.Status)
			}
		case began[i] > after && i < replaced && code == http.StatusOK:
			t.Errorf("%s is younger than the backup, and there: what was restored?", id)
		case code != http.StatusOK:
			missing++
		}
	}
	t.Logf("%d accepted before the backup, all there; %d after it went with the restore", before, missing)

	// What was replaced lies beside it, whole; it can be gone back to.
	aside, err := filepath.Glob(database + ".before-*")
	if err != nil || len(aside) == 0 {
		t.Fatal("nothing was kept aside:", err)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, "restore", "--database=sqlite:"+database, aside[0]); err != nil || !strings.Contains(out, "start the server") {
		t.Fatal(err, out)
	}
	w.url = start(t, "sqlite:"+database).url
	if code, body := w.call("GET", "/v1/deliveries/"+accepted[after+10], nil); code != http.StatusOK {
		t.Errorf("gone back, and what was there before is not: %d %s", code, body)
	}
}

func TestBackupAndRestoreRefuseWhatIsNoDatabase(t *testing.T) {
	dir := t.TempDir()
	database, garbage := filepath.Join(dir, "test.db"), filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("this is no database. ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "sqlite:"+database)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"backup", "--database=sqlite:" + filepath.Join(dir, "none.db"), filepath.Join(dir, "b1")}, "no database to back up"},
		{[]string{"backup", "--database=sqlite:" + garbage, filepath.Join(dir, "b2")}, "no backup was made"},
		{[]string{"backup", "--database=postgres://x", filepath.Join(dir, "b3")}, "pg_dump"},
		{[]string{"restore", "--database=sqlite:" + database, garbage}, "cannot be restored"},
		{[]string{"restore", "--database=sqlite:" + database, filepath.Join(dir, "none.db")}, "no backup at"},
	} {
		if out, err := command(t, c.args...); err == nil || !strings.Contains(out, c.says) {
			t.Errorf("%v: %v %s", c.args, err, out)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.partial")); len(left) > 0 {
		t.Error("left behind:", left)
	}
	if err := (&world{t: t, url: p.url, key: chosenKey}).try("GET", "/v1/agents", nil, nil); err != nil {
		t.Error("the server was disturbed:", err)
	}
}
