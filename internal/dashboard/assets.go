package dashboard

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

// assets are the static files, by name. Each is asked for with its hash, so that
// a browser may keep it for ever.
type assets map[string]asset

type asset struct {
	content []byte
	hash    string
}

func loadAssets() assets {
	a := assets{}
	files, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		panic(err) // they are embedded
	}
	for _, f := range files {
		b, err := staticFiles.ReadFile("static/" + f.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(b)
		a[f.Name()] = asset{b, hex.EncodeToString(sum[:6])}
	}
	return a
}

// url is where a file is, as long as it is this one.
func (a assets) url(name string) string {
	f, ok := a[name]
	if !ok {
		panic("dashboard: there is no static file " + name)
	}
	return "/static/" + name + "?v=" + f.hash
}

func (a assets) serve(w http.ResponseWriter, r *http.Request) {
	f, ok := a[r.PathValue("file")]
	if !ok || strings.HasPrefix(r.PathValue("file"), ".") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(r.PathValue("file"))))
	w.Header().Set("ETag", `"`+f.hash+`"`)
	if r.URL.Query().Get("v") == f.hash {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
}
