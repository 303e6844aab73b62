// Package pgtest gives tests a PostgreSQL of their own: a throwaway cluster from
// the installed programs, in a temporary folder, as an unprivileged user.
//
// Most tests ask for URL: a fresh database in one cluster that the test binary
// starts once. Tests that stop, kill or fail over a server Start their own. Where
// PostgreSQL is not installed they are skipped, with one line, unless
// SWITCHHOOK_REQUIRE_ALL=1 asks for all tests. No server outlives the test binary.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience bounds the wait for a server to start, stop or catch up: long, since
// what is slow is not wrong.
const patience = 2 * time.Minute

// superuser is the role that a cluster is made with; it needs no password.
const superuser = "switchhook"

// Options say what a cluster is to be like.
type Options struct {
	// Fsync makes commits durable, as they are in earnest; without it a cluster
	// survives the death of its processes, but not that of the machine.
	Fsync bool
	// Settings are lines of postgresql.conf.
	Settings map[string]string
	// Admit are lines of pg_hba.conf, before those that let everybody in.
	Admit []string
}

// Cluster is a PostgreSQL server with its data.
type Cluster struct {
	// Port is where it listens, on 127.0.0.1.
	Port int

	dir    string // data, socket and log are in it
	uid    *syscall.Credential
	mu     sync.Mutex
	server *process
}

// process is a running program. Its end is awaited once, by whoever started it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

var (
	sharedOnce sync.Once
	shared     *Cluster
	errShared  error
	databases  atomic.Int64
)

// Main runs a package's tests, and stops the cluster they shared. It is called by
// TestMain, with nothing after it.
func Main(m interface{ Run() int }) {
	code := m.Run()
	if shared != nil {
		shared.remove()
	}
	os.Exit(code)
}

// URL returns the URL of a fresh, empty database in the cluster that all tests of
// this binary share. It is dropped when the test ends.
func URL(t testing.TB) string {
	t.Helper()
	bin := require(t)
	sharedOnce.Do(func() { shared, errShared = create(bin, Options{}) })
	if errShared != nil {
		t.Fatal(errShared)
	}
	return shared.Database(t)
}

// Start makes a cluster of the test's own, running. It is removed when the test ends.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c, err := create(require(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.remove)
	return c
}

// Available says whether PostgreSQL is installed.
func Available() bool { return binDir() != "" }

// require returns the folder of PostgreSQL's programs, or skips the test.
func require(t testing.TB) string {
	t.Helper()
	bin := binDir()
	if bin != "" {
		return bin
	}
	if os.Getenv("SWITCHHOOK_REQUIRE_ALL") == "1" {
		t.Fatal("PostgreSQL is not installed: install it (Debian: apt-get install postgresql), or run without SWITCHHOOK_REQUIRE_ALL")
	}
	t.Skip("left out: PostgreSQL is not installed (Debian: apt-get install postgresql)")
	return ""
}

// binDir finds initdb and its like: on PATH, or where Debian, Fedora, Homebrew and
// the PostgreSQL project itself put them; "" where they are not.
var binDir = sync.OnceValue(func() string {
	var places []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin", "/usr/local/pgsql/bin"} {
		found, _ := filepath.Glob(pattern)
		slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
		places = append(places, found...)
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			places = append(places, filepath.Dir(p))
		}
	}
	for _, dir := range places {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir
		}
	}
	return ""
})

// version is the number in a path like /usr/lib/postgresql/15/bin; 0 for none.
func version(path string) (n int) {
	for part := range strings.FieldsFuncSeq(path, func(r rune) bool { return r < '0' || r > '9' }) {
		n, _ = strconv.Atoi(part)
	}
	return n
}

// unprivileged is whom servers run as: PostgreSQL refuses root. nil is ourselves.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}

// newCluster makes a cluster's folder, with nothing in it.
func newCluster() (*Cluster, error) {
	uid, err := unprivileged()
	if err != nil {
		return nil, err
	}
	base := os.TempDir()
	if len(base) > 40 {
		base = "/tmp" // the path of a socket has at most 107 bytes
	}
	dir, err := os.MkdirTemp(base, "shpg")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, uid: uid}
	if uid != nil {
		err = os.Chown(dir, int(uid.Uid), int(uid.Gid))
	}
	if err == nil {
		c.Port, err = freePort()
	}
	return c, err
}

// freePort is a port that nobody listened on a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func create(bin string, o Options) (c *Cluster, err error) {
	if c, err = newCluster(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.remove()
		}
	}()
	err = c.run(filepath.Join(bin, "initdb"), "--pgdata", c.data(), "--username", superuser, "--auth", "trust",
		"--encoding", "UTF8", "--no-locale", "--no-sync")
	if err != nil {
		return nil, err
	}
	settings := map[string]string{
		"listen_addresses": "127.0.0.1", "unix_socket_directories": c.dir, "max_connections": "300",
		"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB",
		"autovacuum_naptime": "10s", "max_wal_size": "4GB", "log_min_messages": "fatal", "timezone": "UTC",
	}
	if o.Fsync {
		settings["fsync"], settings["synchronous_commit"], settings["full_page_writes"] = "on", "on", "on"
	}
	for k, v := range o.Settings {
		settings[k] = v
	}
	if err := c.configure(settings); err != nil {
		return nil, err
	}
	if err := c.admit(o.Admit); err != nil {
		return nil, err
	}
	return c, c.start()
}

// configure appends settings to postgresql.conf; the last of a name counts.
func (c *Cluster) configure(settings map[string]string) error {
	f, err := os.OpenFile(filepath.Join(c.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for k, v := range settings {
		if _, err := fmt.Fprintf(f, "%s = '%s'\n", k, strings.ReplaceAll(v, "'", "''")); err != nil {
			_ = f.Close()
			return err
		}
	}
	return f.Close()
}

// admit puts lines before those of pg_hba.conf; the first that fits counts.
func (c *Cluster) admit(lines []string) error {
	file := filepath.Join(c.data(), "pg_hba.conf")
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0) // it stays the server's
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n" + string(before))
	return errors.Join(err, f.Close())
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// Log returns the server's log.
func (c *Cluster) Log() string {
	b, _ := os.ReadFile(filepath.Join(c.dir, "log"))
	return string(b)
}

// run runs one of PostgreSQL's programs to its end, as the cluster's user.
func (c *Cluster) run(program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.uid}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, out)
	}
	return nil
}

// spawn starts a program that ends with this one. The kernel's signal on the death
// of a parent means the thread that started it, so that thread is kept.
func (c *Cluster) spawn(log, program string, args ...string) (*process, error) {
	f, err := os.OpenFile(filepath.Join(c.dir, log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &process{cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = c.dir, f, f
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.uid, Setpgid: true}
	diesWithParent(p.cmd.SysProcAttr)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

func (c *Cluster) start() error {
	for attempt := range 5 {
		p, err := c.spawn("log", filepath.Join(binDir(), "postgres"), "-D", c.data(), "-p", strconv.Itoa(c.Port))
		if err != nil {
			return err
		}
		if err = c.await(p); err == nil {
			c.server = p
			return nil
		}
		if attempt == 4 || !strings.Contains(c.Log(), "Address already in use") {
			return fmt.Errorf("%w: %s", err, c.Log())
		}
		// Somebody took the port meanwhile. A cluster that ran keeps its own.
		if c.server == nil {
			if c.Port, err = freePort(); err != nil {
				return err
			}
		} else {
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

// await waits until the server takes connections.
func (c *Cluster) await(p *process) error {
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		conn, err := pgx.Connect(ctx, c.URL("postgres"))
		if err == nil {
			_ = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("PostgreSQL ended while it started")
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			_ = p.cmd.Process.Kill()
			return fmt.Errorf("PostgreSQL takes no connections: %w", err)
		}
	}
}

// URL is the URL of a database of the cluster.
func (c *Cluster) URL(database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", superuser, c.Port, database)
}

// Database makes a fresh, empty database, and returns its URL. It is dropped when
// the test ends, where the cluster still runs.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprint("test", databases.Add(1))
	if err := c.exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)") })
	return c.URL(name)
}

// Exec runs a statement in the cluster's own database, as its superuser.
func (c *Cluster) Exec(t testing.TB, statement string) {
	t.Helper()
	if err := c.exec(statement); err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

// Stop ends the server and its connections, in good order ("fast").
func (c *Cluster) Stop(t testing.TB) { c.end(t, syscall.SIGINT) }

// Immediate ends the server as a crash would, all its processes at once: it
// recovers when it is started again.
func (c *Cluster) Immediate(t testing.TB) { c.end(t, syscall.SIGQUIT) }

// Kill ends the server with SIGKILL; its other processes see it and end too.
func (c *Cluster) Kill(t testing.TB) { c.end(t, syscall.SIGKILL) }

func (c *Cluster) end(t testing.TB, sig syscall.Signal) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.server.end(sig); err != nil {
		t.Fatal(err)
	}
}

func (p *process) end(sig syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("%s does not end on %s", p.cmd.Path, sig)
	}
}

// Resume starts a server that was ended, on its data and its port.
func (c *Cluster) Resume(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	// Orphans of a killed server hold its shared memory for a moment: PostgreSQL
	// then refuses to start, and is asked again.
	deadline := time.Now().Add(patience)
	for {
		err := c.start()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// Restart is Stop and Resume.
func (c *Cluster) Restart(t testing.TB) {
	t.Helper()
	c.Stop(t)
	c.Resume(t)
}

func (c *Cluster) remove() {
	if c.server != nil {
		_ = c.server.end(syscall.SIGQUIT)
	}
	_ = os.RemoveAll(c.dir)
}

// Replica makes a streaming replica of a cluster, running. name is what the
// primary's synchronous_standby_names may call it. It is removed when the test ends.
func (c *Cluster) Replica(t testing.TB, name string) *Cluster {
	t.Helper()
	r, err := newCluster()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.remove)
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=%s application_name=%s", c.Port, superuser, name)
	if err := r.run(filepath.Join(binDir(), "pg_basebackup"), "--pgdata", r.data(), "--dbname", dsn, "--checkpoint", "fast", "--no-sync", "--wal-method", "stream"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.data(), "standby.signal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = r.configure(map[string]string{"primary_conninfo": dsn, "unix_socket_directories": r.dir, "synchronous_standby_names": ""})
	if err == nil {
		err = r.start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Promote makes a replica a primary, and returns once it takes writes.
func (c *Cluster) Promote(t testing.TB) {
	t.Helper()
	if err := c.exec("SELECT pg_promote(true, " + strconv.Itoa(int(patience.Seconds())) + ")"); err != nil {
		t.Fatal(err)
	}
}

// Synchronous makes the primary wait for a replica of that name before a commit
// is answered; "" for none.
func (c *Cluster) Synchronous(t testing.TB, name string) {
	t.Helper()
	c.Exec(t, "ALTER SYSTEM SET synchronous_standby_names = '"+name+"'")
	c.Exec(t, "SELECT pg_reload_conf()")
}

// Bouncer starts a PgBouncer in transaction mode before a cluster, and returns the
// URL of a database through it. The test is left out where it is not installed.
func (c *Cluster) Bouncer(t testing.TB, databaseURL string, settings map[string]string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
		if _, err := os.Stat(program); err != nil {
			if os.Getenv("SWITCHHOOK_REQUIRE_ALL") == "1" {
				t.Fatal("PgBouncer is not installed: install it (Debian: apt-get install pgbouncer), or run without SWITCHHOOK_REQUIRE_ALL")
			}
			t.Skip("left out: PgBouncer is not installed (Debian: apt-get install pgbouncer)")
		}
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{
		"listen_addr": "127.0.0.1", "listen_port": strconv.Itoa(port), "unix_socket_dir": c.dir, "auth_type": "any",
		"pool_mode": "transaction", "max_client_conn": "200", "default_pool_size": "20", "logfile": "",
	}
	for k, v := range settings {
		lines[k] = v
	}
	conf := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%d user=%s\n[pgbouncer]\n", c.Port, superuser)
	for k, v := range lines {
		conf += k + " = " + v + "\n"
	}
	file := filepath.Join(c.dir, fmt.Sprint("pgbouncer", port, ".ini"))
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := c.spawn("pgbouncer.log", program, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.end(syscall.SIGQUIT) })
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	deadline := time.Now().Add(patience)
	for {
		conn, err := net.Dial("tcp", u.Host)
		if err == nil {
			_ = conn.Close()
			return u.String()
		}
		select {
		case <-p.done:
			log, _ := os.ReadFile(filepath.Join(c.dir, "pgbouncer.log"))
			t.Fatalf("PgBouncer ended while it started: %s", log)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("PgBouncer takes no connections:", err)
		}
	}
}

// Plain returns the URL of a fresh database for a role that owns nothing but a schema
// of its name in it: it is no superuser, and may make neither schemas nor temporary
// tables.
func (c *Cluster) Plain(t testing.TB) string {
	t.Helper()
	role := fmt.Sprint("plain", databases.Add(1))
	c.Exec(t, "CREATE ROLE "+role+" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE")
	t.Cleanup(func() { _ = c.exec("DROP ROLE IF EXISTS " + role) }) // after its database, in which it owns things
	database := c.Database(t)
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for _, text := range []string{
		"REVOKE ALL ON DATABASE " + conn.Config().Database + " FROM PUBLIC", "GRANT CONNECT ON DATABASE " + conn.Config().Database + " TO " + role,
		"REVOKE ALL ON SCHEMA public FROM PUBLIC", "CREATE SCHEMA " + role + " AUTHORIZATION " + role,
	} {
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatal(text, err)
		}
	}
	return strings.Replace(database, superuser+"@", role+"@", 1)
}

// Shared returns the cluster that URL's databases are in.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	URL(t)
	return shared
}
