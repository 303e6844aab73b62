package api

import (
	"errors"
	"net/http"
	"reflect"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"
	"switchhook.dev/switchhook/internal/manual"
	"switchhook.dev/switchhook/internal/phone"
)

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// registerSystem registers what needs no key: probes, metrics and documentation.
func (h *handlers) registerSystem(mux *http.ServeMux, metrics prometheus.Gatherer) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeStatus(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := h.store.Ping(r.Context()); err != nil {
			h.logger.Warn("not ready", "error", err)
			w.Header().Set("Retry-After", "1")
			why := "the database does not answer: the server's log says why"
			if e, ok := errors.AsType[*phone.Error](err); ok {
				why = e.Message
			}
			writeDetail(w, http.StatusServiceUnavailable, why)
			return
		}
		writeStatus(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	// Swagger UI from the binary itself: the page needs no other network.
	reference := v5emb.NewHandlerWithConfig(swgui.Config{
		Title: "Switchhook", SwaggerJSON: "/openapi.json", BasePath: "/docs/api", InternalBasePath: "/docs/api",
	})
	mux.Handle("GET /docs/api", reference)
	mux.Handle("GET /docs/api/", reference)
	pages := manual.Handler()
	mux.Handle("GET /docs", pages)
	mux.Handle("GET /docs/", pages)
}

func writeStatus(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"status":"` + text + "\"}\n"))
}
