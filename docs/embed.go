// Package docs holds the pages of the manual, so that the binary can show them.
package docs

import "embed"

// Pages are the manual's pages, in Markdown.
//
//go:embed *.md
var Pages embed.FS
