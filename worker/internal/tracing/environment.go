package tracing

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// environment is what the variables say of the collector.
type environment struct {
	endpoint *url.URL // may hold credentials
	headers  http.Header
	gzip     bool
	timeout  time.Duration // of one request
	tls      *tls.Config
}

// collector is the part of the endpoint that a log may hold.
func (e *environment) collector() string { return e.endpoint.Scheme + "://" + e.endpoint.Host }

// readEnvironment returns nil when nothing asks for traces. Its errors hold no
// value of a variable that may be secret.
func readEnvironment(getenv func(string) string, readFile func(string) ([]byte, error)) (*environment, error) {
	const every, traces = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"
	// What is set for traces wins over what is set for every signal.
	get := func(name string) (value, from string) {
		if value = getenv(traces + name); value != "" {
			return value, traces + name
		}
		return getenv(every + name), every + name
	}

	endpoint, from := get("ENDPOINT")
	exporter := getenv("OTEL_TRACES_EXPORTER")
	switch {
	case endpoint == "", strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true"), exporter == "none":
		return nil, nil
	case exporter != "" && exporter != "otlp":
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER is %q, expected otlp or none", exporter)
	}
	if protocol, from := get("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("%s is %q, expected http/protobuf: set it for the worker, and the endpoint to the collector's "+
			"port for HTTP, usually 4318", from, protocol)
	}
	e := &environment{headers: make(http.Header), timeout: 10 * time.Second}
	var err error
	if e.endpoint, err = url.Parse(endpoint); err != nil || e.endpoint.Host == "" || e.endpoint.Scheme != "http" && e.endpoint.Scheme != "https" {
		return nil, fmt.Errorf("%s is no URL, expected one such as http://collector:4318", from)
	}
	if from == every+"ENDPOINT" { // the base of the addresses of all signals
		e.endpoint = e.endpoint.JoinPath("v1", "traces")
	}
	e.endpoint.Path = cmp.Or(e.endpoint.Path, "/")

	list, from := get("HEADERS")
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !ok || name == "" || err != nil {
			return nil, fmt.Errorf("%s is not understood, expected name=value, separated by commas, values URL-encoded", from)
		}
		e.headers.Set(name, value)
	}
	switch compression, from := get("COMPRESSION"); compression {
	case "", "none":
	case "gzip":
		e.gzip = true
	default:
		return nil, fmt.Errorf("%s is %q, expected gzip or none", from, compression)
	}
	if timeout, from := get("TIMEOUT"); timeout != "" {
		ms, err := strconv.Atoi(timeout)
		if err != nil || ms < 1 {
			return nil, fmt.Errorf("%s is %q, expected milliseconds such as 10000", from, timeout)
		}
		e.timeout = time.Duration(ms) * time.Millisecond
	}
	e.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	return e, e.readCertificates(get, readFile)
}

func (e *environment) readCertificates(get func(string) (value, from string), readFile func(string) ([]byte, error)) error {
	if path, from := get("CERTIFICATE"); path != "" {
		pem, err := readFile(path)
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		e.tls.RootCAs = x509.NewCertPool()
		if !e.tls.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s: %s holds no certificate", from, path)
		}
	}
	certificate, from := get("CLIENT_CERTIFICATE")
	key, keyFrom := get("CLIENT_KEY")
	if certificate == "" && key == "" {
		return nil
	}
	chain, err := readFile(certificate)
	private, keyErr := readFile(key)
	if err := errors.Join(err, keyErr); err != nil {
		return fmt.Errorf("%s and %s: %w", from, keyFrom, err)
	}
	pair, err := tls.X509KeyPair(chain, private)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", from, keyFrom, err)
	}
	e.tls.Certificates = []tls.Certificate{pair}
	return nil
}
