package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/alecthomas/kong"
	"switchhook.dev/switchhook/internal/server"
)

// BackupCmd writes a copy of a database file.
type BackupCmd struct {
	Database string `env:"SWITCHHOOK_DATABASE" default:"sqlite:switchhook.db" help:"The server's database: sqlite:FILE. The server may run."`
	File     string `arg:"" help:"The new file to write."`
}

// Run makes the backup.
func (c *BackupCmd) Run(ctx context.Context, kctx *kong.Context) error {
	if err := server.Backup(ctx, c.Database, c.File); err != nil {
		return err
	}
	fmt.Fprintf(kctx.Stdout, "%s holds everything that was answered before this began. The key that seals the webhooks' secrets is not in it: keep that too, elsewhere.\n", c.File)
	return nil
}

// RestoreCmd puts a backup in the place of a database file.
type RestoreCmd struct {
	Database string `env:"SWITCHHOOK_DATABASE" default:"sqlite:switchhook.db" help:"The server's database: sqlite:FILE. The server may run, and goes over to what is restored."`
	File     string `arg:"" help:"The backup."`
}

// Run restores.
func (c *RestoreCmd) Run(ctx context.Context, kctx *kong.Context) error {
	running, err := server.Restore(ctx, c.File, c.Database)
	if err != nil {
		return err
	}
	if running {
		fmt.Fprint(kctx.Stdout, "Restored: the server has gone over to it. ")
	} else {
		fmt.Fprint(kctx.Stdout, "Restored: start the server. ")
	}
	fmt.Fprintln(kctx.Stdout, "What was there before is beside it, as .before-….")
	return nil
}

// errRestored is why a server stops that goes over to a restored database.
var errRestored = errors.New("a backup was restored")

// restoreEvery is how often a server looks for a restored database: one look at a
// folder.
const restoreEvery = time.Second

// wait returns when the server is to stop, and why.
func (c *ServeCmd) wait(ctx context.Context, srv *server.Server) error {
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		ticker := time.NewTicker(restoreEvery)
		defer ticker.Stop()
		for {
			select {
			case <-waiting.Done():
				return
			case <-ticker.C:
				if server.Restored(c.Database) {
					cancel(errRestored)
					return
				}
			}
		}
	}()
	err := srv.Wait(waiting)
	if err == nil && ctx.Err() == nil && context.Cause(waiting) == errRestored {
		err = errRestored
	}
	return err
}

// stop stops a server: attempts in flight may finish.
func stop(ctx context.Context, srv *server.Server, logger *slog.Logger) error {
	logger.Info("stopping: attempts in flight may finish", "within", stopGrace.String())
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	return srv.Stop(ctx)
}
