package tracing

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestWhenThereAreTracesAndWhereTheyGo(t *testing.T) {
	const collector = "http://collector:4318"
	for _, c := range []struct {
		name string
		env  map[string]string
		want string // the address, empty when off, or "error: " and a part of it
	}{
		{"nothing is set", nil, ""},
		{"a collector of all signals", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector}, collector + "/v1/traces"},
		{"one behind a path", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector + "/otlp/"}, collector + "/otlp/v1/traces"},
		{"a collector of traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector}, collector + "/"},
		{"both", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://metrics", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector + "/t"}, collector + "/t"},
		{"switched off", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_SDK_DISABLED": "True"}, ""},
		{"not switched off", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_SDK_DISABLED": "false"}, collector + "/v1/traces"},
		{"no exporter", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_TRACES_EXPORTER": "none"}, ""},
		{"the exporter by its name", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_TRACES_EXPORTER": "otlp"}, collector + "/v1/traces"},
		{"another exporter", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_TRACES_EXPORTER": "zipkin"}, "error: OTEL_TRACES_EXPORTER"},
		{"gRPC", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "error: expected http/protobuf"},
		{"gRPC, but not for traces", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
			"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, collector + "/v1/traces"},
		{"no URL", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "user:geheim@collector"}, "error: OTEL_EXPORTER_OTLP_ENDPOINT is no URL"},
		{"a URL with a wrong port", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:geheim@collector:x"}, "error: OTEL_EXPORTER_OTLP_ENDPOINT is no URL"},
		{"headers that are none", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_EXPORTER_OTLP_HEADERS": "geheim"}, "error: OTEL_EXPORTER_OTLP_HEADERS"},
		{"an unknown compression", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_EXPORTER_OTLP_COMPRESSION": "br"}, "error: expected gzip or none"},
		{"a timeout in words", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_EXPORTER_OTLP_TIMEOUT": "10s"}, "error: expected milliseconds"},
		{"a certificate that is not there", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca"}, "error: OTEL_EXPORTER_OTLP_CERTIFICATE"},
		{"a certificate without its key", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/c"}, "error: OTEL_EXPORTER_OTLP_CLIENT_KEY"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := readEnvironment(func(name string) string { return c.env[name] },
				func(string) ([]byte, error) { return nil, os.ErrNotExist })
			part, wrong := strings.CutPrefix(c.want, "error: ")
			switch {
			case wrong:
				if err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "geheim") {
					t.Errorf("error %v", err)
				}
			case err != nil:
				t.Error(err)
			case c.want == "":
				if e != nil {
					t.Error("tracing is on")
				}
			case e == nil || e.endpoint.String() != c.want || e.timeout != 10*time.Second:
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestAWrongVariableLeavesTheWorkerWithoutTraces(t *testing.T) {
	newCollector(t)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	tracing, logs := begin(t)
	if tracing != nil || logs.FilterMessage("there will be no traces").Len() != 1 {
		t.Errorf("%v, %v", tracing, logs.All())
	}
}

func TestACertificateMustBeOne(t *testing.T) {
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem"}
	_, err := readEnvironment(func(name string) string { return env[name] }, func(string) ([]byte, error) { return []byte("x"), nil })
	if err == nil || !strings.Contains(err.Error(), "/ca.pem holds no certificate") || errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
