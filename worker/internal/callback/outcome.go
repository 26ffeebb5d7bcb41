package callback

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
)

// Outcome names what came of an attempt, for metrics and logs: delivered, gone,
// http_429, http_5xx, timeout, certificate and so on.
func (r Result) Outcome() string {
	var (
		forbidden   *ForbiddenAddressError
		certificate *tls.CertificateVerificationError
		dns         *net.DNSError
		network     net.Error
	)
	switch {
	case r.Delivered():
		return "delivered"
	case r.Gone():
		return "gone"
	case r.Status == 429:
		return "http_429"
	case r.Status >= 300 && r.Status <= 599:
		return fmt.Sprintf("http_%dxx", r.Status/100)
	case r.Status != 0:
		return "http_other"
	case errors.Is(r.Err, errPanicked):
		return "panic"
	case errors.As(r.Err, &forbidden):
		return "forbidden_address"
	case errors.As(r.Err, &certificate):
		return "certificate"
	case errors.As(r.Err, &dns):
		return "dns"
	case errors.Is(r.Err, context.DeadlineExceeded), errors.As(r.Err, &network) && network.Timeout():
		return "timeout"
	default:
		return "connection"
	}
}

// Problem is the sentence stored with a failed attempt; empty when delivered.
// It holds neither the URL nor a byte of the body.
func (r Result) Problem() string {
	switch {
	case r.Delivered():
		return ""
	case r.Gone():
		return "the receiver answered 410 Gone: nothing more is sent there until the endpoint is enabled again, its deliveries wait"
	case r.Status >= 300 && r.Status <= 399:
		return fmt.Sprintf("the receiver answered %d: redirects are not followed, set the endpoint's URL to the final address", r.Status)
	case r.Status != 0:
		return fmt.Sprintf("the receiver answered %d, expected 2xx", r.Status)
	case errors.Is(r.Err, context.DeadlineExceeded):
		return "no answer within the time allowed"
	case r.Err != nil:
		return clean(r.Err.Error())
	default:
		return "no response"
	}
}

// clean makes text fit for a column: no NUL, valid UTF-8, bounded.
func clean(s string) string {
	const limit = 500
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return s
}
