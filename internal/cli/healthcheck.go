package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// healthcheckTimeout is less than the 3 s that containers are given for the answer.
const healthcheckTimeout = 2 * time.Second

// HealthcheckCmd asks a server whether it is ready. It is for images without a
// shell, whose health check can be nothing but the program itself.
type HealthcheckCmd struct {
	URL  string `name:"url" env:"SWITCHHOOK_URL" default:"http://127.0.0.1:8080" placeholder:"URL" help:"Where the server answers (${env}; ${default})."`
	Live bool   `help:"Ask whether the process lives (/healthz), not whether it is ready for requests (/readyz)."`
}

// Run returns nil where the server answers 200.
func (c *HealthcheckCmd) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	path := "/readyz"
	if c.Live {
		path = "/healthz"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(c.URL, "/")+path, nil)
	if err != nil {
		return fmt.Errorf("--url: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return errors.New(c.URL + " does not answer: is the server running?")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		return fmt.Errorf("%s answers %d: %s", path, resp.StatusCode, strings.TrimSpace(string(answer)))
	}
	return nil
}
