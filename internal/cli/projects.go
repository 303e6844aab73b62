package cli

import (
	"context"
	"net/http"
	"time"
)

// Project is a project as the API shows it.
type Project struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	CreatedAt *time.Time `json:"createdAt"`
	// APIKey is the first key, shown once, when the project is created.
	APIKey string `json:"apiKey"`
}

// ProjectsCmd groups the commands on projects.
type ProjectsCmd struct {
	ClientFlags
	List   ProjectsListCmd   `cmd:"" help:"List the projects."`
	Create ProjectsCreateCmd `cmd:"" help:"Create a project and its first API key."`
}

// ProjectsListCmd is `projects list`.
type ProjectsListCmd struct{}

// Run lists the projects.
func (cmd *ProjectsListCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Path: "/v1/projects"})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, projects page[Project]) {
		var rows [][]string
		for _, v := range projects.Data {
			rows = append(rows, []string{v.ID, v.Name, when(v.CreatedAt)})
		}
		p.table("ID NAME CREATED", "There are no projects: create one with `switchhook projects create NAME`.", rows)
	})
}

// ProjectsCreateCmd is `projects create`.
type ProjectsCreateCmd struct {
	Name string `arg:"" help:"What to call the project."`
}

// Run creates a project.
func (cmd *ProjectsCreateCmd) Run(ctx context.Context, c *Client, out Output) error {
	answer, err := c.Do(ctx, Request{Method: http.MethodPost, Path: "/v1/projects", Body: map[string]string{"name": cmd.Name}})
	if err != nil {
		return err
	}
	return show(out, answer, func(p *printer, v Project) {
		p.fields("project", v.ID, "name", v.Name, "api key", v.APIKey)
		p.line("Keep the key now: it is not shown again.")
	})
}
