package server

import (
	"context"
	"os"
	"strings"

	"switchhook.dev/switchhook/internal/tracing"
)

// startTraces makes traces where the settings, or the standard variables of
// OpenTelemetry, ask for them; nil otherwise.
func startTraces(ctx context.Context, cfg Config) (*tracing.Tracer, error) {
	asked := cfg.Traces != "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	if !asked || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	return tracing.Start(ctx, cfg.Traces, cfg.Version)
}
