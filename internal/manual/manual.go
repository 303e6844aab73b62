// Package manual shows docs/*.md at /docs. It renders once, when it is made, and
// serves nothing that another network would be needed for: no script, one style
// sheet, light and dark.
package manual

import (
	"bytes"
	_ "embed"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
	"switchhook.dev/switchhook/docs"
)

//go:embed style.css
var style []byte

//go:embed page.html
var pageHTML string

// policy lets a page load its style sheet and pictures from here, and nothing else.
const policy = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// menu is the order of the pages; what is not in it comes after, by name.
var menu = []string{"index", "quickstart", "concepts", "signatures", "migrating", "commands", "operations", "deploy"}

// page is one rendered page.
type page struct {
	Name, Title string
	Body        template.HTML
}

// Handler serves the manual: /docs, /docs/{page} and /docs/style.css.
func Handler() http.Handler {
	pages := render()
	tmpl := template.Must(template.New("page").Parse(pageHTML))
	out := map[string][]byte{}
	for _, p := range pages {
		var b bytes.Buffer
		if err := tmpl.Execute(&b, map[string]any{"Page": p, "Pages": pages}); err != nil {
			panic("manual: " + p.Name + " cannot be shown: " + err.Error())
		}
		out[p.Name] = b.Bytes()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.Trim(strings.TrimPrefix(r.URL.Path, "/docs"), "/")
		if name == "" {
			name = "index"
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		if name == "style.css" {
			h.Set("Content-Type", "text/css; charset=utf-8")
			_, _ = w.Write(style)
			return
		}
		b, found := out[strings.TrimSuffix(name, ".md")]
		h.Set("Content-Type", "text/html; charset=utf-8")
		if !found {
			w.WriteHeader(http.StatusNotFound)
			b = out["index"]
		}
		_, _ = w.Write(b)
	})
}

// render renders all pages, in the order of the menu.
func render() (pages []page) {
	md := goldmark.New(
		goldmark.WithExtensions(extension.GFM),
		goldmark.WithParserOptions(parser.WithAutoHeadingID(), parser.WithASTTransformers(util.Prioritized(links{}, 100))),
	)
	entries, err := fs.ReadDir(docs.Pages, ".")
	if err != nil {
		panic("manual: " + err.Error())
	}
	byName := map[string]page{}
	var names []string
	for _, e := range entries {
		source, err := docs.Pages.ReadFile(e.Name())
		if err != nil {
			panic("manual: " + err.Error())
		}
		var b bytes.Buffer
		if err := md.Convert(source, &b); err != nil {
			panic("manual: " + e.Name() + ": " + err.Error())
		}
		name := strings.TrimSuffix(e.Name(), ".md")
		title, _, _ := strings.Cut(strings.TrimPrefix(string(source), "# "), "\n")
		// goldmark leaves raw HTML out, so this is only what it made of Markdown.
		byName[name] = page{name, title, template.HTML(b.String())}
		names = append(names, name)
	}
	for _, name := range append(append([]string{}, menu...), names...) {
		if p, ok := byName[name]; ok {
			pages = append(pages, p)
			delete(byName, name)
		}
	}
	return pages
}

var scheme = regexp.MustCompile(`^[a-z]+:`)

// links makes links between files links between pages. What points at other files
// of the source has no place here, and stays as text.
type links struct{}

// Transform is parser.ASTTransformer's.
func (links) Transform(doc *ast.Document, _ text.Reader, _ parser.Context) {
	var elsewhere []*ast.Link
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		link, ok := n.(*ast.Link)
		if !ok || !entering {
			return ast.WalkContinue, nil
		}
		target, anchor, _ := strings.Cut(string(link.Destination), "#")
		switch {
		case scheme.MatchString(target), strings.HasPrefix(target, "/"), target == "":
		case path.Ext(target) == ".md" && !strings.Contains(target, "/"):
			to := "/docs/" + strings.TrimSuffix(target, ".md")
			if anchor != "" {
				to += "#" + anchor
			}
			link.Destination = []byte(to)
		default:
			elsewhere = append(elsewhere, link)
		}
		return ast.WalkContinue, nil
	})
	for _, link := range elsewhere {
		parent := link.Parent()
		for child := link.FirstChild(); child != nil; child = link.FirstChild() {
			parent.InsertBefore(parent, link, child)
		}
		parent.RemoveChild(parent, link)
	}
}
