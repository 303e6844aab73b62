package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"switchhook.dev/switchhook/internal/move"
	"switchhook.dev/switchhook/internal/seal"
	"switchhook.dev/switchhook/internal/store/postgres"
	"switchhook.dev/switchhook/internal/store/sqlite"
)

// MigrateCmd brings the schema of a PostgreSQL database up to date.
type MigrateCmd struct {
	Database string `env:"SWITCHHOOK_DATABASE" required:"" placeholder:"URL" help:"The database: postgres://…"`
	Citus    bool   `help:"Spread the tables over the workers of Citus, by project. The extension must be there."`
}

// Run migrates. A server does the same at its start, but spreads nothing.
func (c *MigrateCmd) Run(ctx context.Context, kctx *kong.Context) error {
	if !isPostgres(c.Database) {
		return errors.New("--database must be postgres://…: a SQLite file is brought up to date by the server that opens it")
	}
	store, err := postgres.Open(ctx, c.Database)
	if err != nil {
		return err
	}
	if err := store.Close(); err != nil {
		return err
	}
	fmt.Fprintln(kctx.Stdout, "the schema is up to date")
	if !c.Citus {
		return nil
	}
	tables, err := postgres.Distribute(ctx, c.Database)
	for _, t := range tables {
		fmt.Fprintln(kctx.Stdout, t)
	}
	return err
}

// MigrateStoreCmd moves projects from a SQLite file to PostgreSQL.
type MigrateStoreCmd struct {
	From          string   `required:"" placeholder:"sqlite:FILE" help:"The file to move from. No server may have it open."`
	To            string   `env:"SWITCHHOOK_DATABASE" required:"" placeholder:"URL" help:"The database to move to: postgres://…, not through a pooler (${env})."`
	SecretKeyFile string   `name:"secret-key-file" env:"SWITCHHOOK_SECRET_KEY_FILE" placeholder:"FILE" help:"Holds the keys that the webhooks' secrets are sealed under. They move sealed: this only makes sure that the key is at hand. SWITCHHOOK_SECRET_KEY may hold them instead. Default: the file beside the database."`
	Project       []string `placeholder:"ID" help:"Only this project; may be given again. Without it everything moves."`
	Restart       bool     `help:"Drop what an interrupted move has brought, and begin anew: where a server ran on the file meanwhile."`
	Rows          int      `default:"2000" help:"How many rows move in one transaction, at most."`
}

// Run moves. Interrupted, it goes on where it stopped when it is run again.
func (c *MigrateStoreCmd) Run(ctx context.Context, kctx *kong.Context) error {
	ctx, release := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer release()
	file, ok := strings.CutPrefix(c.From, "sqlite:")
	if !ok || file == "" {
		return fmt.Errorf("--from %q is no SQLite file: write it as sqlite:FILE", c.From)
	}
	if !isPostgres(c.To) {
		return errors.New("--to must be a PostgreSQL database: write it as postgres://…")
	}
	file = strings.TrimPrefix(file, "//")
	// Opening would make the file.
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	from, err := sqlite.OpenToMove(ctx, file)
	if err != nil {
		return err
	}
	defer from.Close()
	key, err := c.checkSecrets(ctx, from, file)
	if err != nil {
		return err
	}
	if err := prepareTarget(ctx, c.To, from); err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	to, err := postgres.Connect(ctx, c.To)
	if err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	defer func() { _ = to.Close(context.WithoutCancel(ctx)) }()
	moved, err := move.Run(ctx, move.Config{
		From: from, To: to, Projects: c.Project, Restart: c.Restart, Rows: c.Rows,
		Progress: func(p move.Page) {
			already := ""
			if p.Resumed {
				already = " already, by an earlier run"
			}
			fmt.Fprintf(kctx.Stdout, "%s: %d rows%s\n", p.Table, p.Rows, already)
		},
	})
	if err != nil {
		return fmt.Errorf("%w (the file is as it was)", err)
	}
	for _, t := range moved {
		fmt.Fprintf(kctx.Stdout, "%-16s %10d rows  %s  the same in both\n", t.Table, t.Rows, t.Hash)
	}
	fmt.Fprintln(kctx.Stdout, "moved: start servers with the URL of --to as their --database"+key)
	return nil
}

// prepareTarget brings the schema up to date, with partitions for what is to come.
func prepareTarget(ctx context.Context, url string, from *sqlite.Store) error {
	store, err := postgres.Open(ctx, url)
	if err != nil {
		return err
	}
	oldest, err := move.Oldest(ctx, from)
	if err == nil {
		err = store.MakePartitions(ctx, oldest, time.Now())
	}
	return errors.Join(err, store.Close())
}

// checkSecrets makes sure that the key at hand opens the webhooks' secrets, which
// move sealed, and says which it is.
func (c *MigrateStoreCmd) checkSecrets(ctx context.Context, from *sqlite.Store, file string) (use string, err error) {
	kept, err := from.Secrets(ctx)
	if err != nil {
		return "", err
	}
	var ring *seal.Ring
	for _, k := range kept {
		if !seal.IsSealed(k.Secret) {
			continue
		}
		if ring == nil {
			if ring, use, err = c.keys(file); err != nil {
				return "", err
			}
		}
		if _, err := ring.Open(k.WebhookID, k.Secret); err != nil {
			return "", fmt.Errorf("the secret of webhook %s cannot be opened: %w: give the key it was sealed under, in --secret-key-file or SWITCHHOOK_SECRET_KEY", k.WebhookID, err)
		}
	}
	return use, nil
}

// keys reads the keys, and says how a server is to be told of them.
func (c *MigrateStoreCmd) keys(file string) (ring *seal.Ring, use string, err error) {
	if text := os.Getenv("SWITCHHOOK_SECRET_KEY"); text != "" {
		if ring, err = seal.Parse(text); err != nil {
			return nil, "", fmt.Errorf("SWITCHHOOK_SECRET_KEY: %w", err)
		}
		return ring, ", and the same SWITCHHOOK_SECRET_KEY", nil
	}
	path := c.SecretKeyFile
	if path == "" {
		path = file + ".key"
	}
	ring, _, err = seal.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%s is missing, and the webhooks' secrets are sealed under a key in it: put it back from your copy, or name another with --secret-key-file", path)
	}
	return ring, ", and --secret-key-file " + path, err
}

func isPostgres(database string) bool {
	return strings.HasPrefix(database, "postgres://") || strings.HasPrefix(database, "postgresql://")
}
