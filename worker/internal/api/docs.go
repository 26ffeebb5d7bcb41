package api

import (
	"bytes"
	"compress/gzip"
	"embed"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/swaggest/swgui/v5/static"
)

//go:embed docs
var ownDocs embed.FS

// docsPolicy keeps the page from loading or sending anything elsewhere. Swagger
// UI writes styles into its elements.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// serveDocs publishes the OpenAPI document, and Swagger UI, whose files are in
// the binary: the page works where there is no internet.
func (a *api) serveDocs() {
	text := a.specification()
	specification := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(text) // the client is gone: nobody to tell
	}
	a.mux.HandleFunc("GET /openapi.json", specification)
	a.mux.HandleFunc("GET /docs.json", specification) // where the seed had it

	a.serveFile("/docs", ownDocs, "docs/index.html")
	a.serveFile("/docs/start.js", ownDocs, "docs/start.js")
	for _, name := range []string{"swagger-ui-bundle.js.gz", "swagger-ui.css.gz", "favicon-32x32.png"} {
		a.serveFile("/docs/"+strings.TrimSuffix(name, ".gz"), static.FS, name)
	}
}

// serveFile answers with a file; one that ends with .gz goes as it is to those
// who take it compressed.
func (a *api) serveFile(pattern string, files fs.FS, name string) {
	content, err := fs.ReadFile(files, name)
	if err != nil {
		panic(err) // it is in the binary, or the build is wrong
	}
	plain, zipped := strings.CutSuffix(name, ".gz")
	contentType := mime.TypeByExtension(path.Ext(plain))
	a.mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Content-Security-Policy", docsPolicy)
		h.Set("Cache-Control", "public, max-age=3600")
		var body io.Reader = bytes.NewReader(content)
		if zipped {
			h.Add("Vary", "Accept-Encoding")
			if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				h.Set("Content-Encoding", "gzip")
			} else if unzipped, err := gzip.NewReader(body); err == nil { // always
				body = unzipped
			}
		}
		_, _ = io.Copy(w, body) // the client is gone: nobody to tell
	})
}
