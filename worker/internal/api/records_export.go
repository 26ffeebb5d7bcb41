package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/records"
)

// preparing is how long an export may take before its first byte, for all that
// has to be read to know the columns of a table.
const preparing = 10 * time.Minute

func registerExport(s *stored, tag string) {
	export := readOperation("exportResponses", "/api/responses/export", tag, "Export responses",
		"All that the filters let through, as one file, the earliest first. A connection that breaks off means that the file is not complete.")
	documentFile(&export, "application/x-ndjson", "text/csv")
	export.Errors = []int{http.StatusTooManyRequests}
	// The server's times are for answers that are ready at once. Without a time
	// for reading it notices at any moment that the client has gone.
	export.Middlewares = huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		if !r.ProtoAtLeast(1, 1) {
			// There an answer ends with the connection: a file that broke off would
			// look complete.
			newProblem(http.StatusHTTPVersionNotSupported, "HTTP_VERSION_NOT_SUPPORTED",
				"An export needs HTTP/1.1, and this request is %s: with nginx in between set proxy_http_version 1.1", r.Proto).write(w)
			return
		}
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Time{}) // the first write says if it is not possible
		_ = control.SetWriteDeadline(time.Now().Add(preparing))
		next(ctx)
	}}
	registerLong(s.api, export, Read, s.exportResponses)
}

type exportInput struct {
	ResponseFilter
	Format  string `query:"format" enum:"ndjson,csv" default:"ndjson" doc:"ndjson: one JSON object a line; csv: a table"`
	Columns string `query:"columns" doc:"csv: the answers' keys to have as columns, by commas, instead of all; \"key (title)\" is the title of the option chosen. Such as score,score (title),comment"`
	BOM     string `query:"bom" enum:"true,false" default:"false" doc:"csv: begin with a byte order mark, by which Excel knows UTF-8"`
}

func (in *exportInput) options() (records.ExportOptions, error) {
	o := records.ExportOptions{Format: records.Format(in.Format), ByteOrderMark: in.BOM == "true"}
	if o.Format != records.CSV && (in.Columns != "" || o.ByteOrderMark) {
		return o, badRequest("columns and bom are for format=csv, and the format is %s", in.Format)
	}
	for column := range strings.SplitSeq(in.Columns, ",") {
		if column = strings.TrimSpace(column); column != "" {
			o.Columns = append(o.Columns, column)
		}
	}
	return o, nil
}

func (s *stored) exportResponses(ctx context.Context, in *exportInput) (*huma.StreamResponse, error) {
	f, err := in.filter()
	o, errOptions := in.options()
	if err := errors.Join(err, errOptions, checkTexts(in)); err != nil {
		return nil, err
	}
	prepare, cancel := context.WithTimeout(ctx, preparing)
	defer cancel()
	export, err := s.records.Export(prepare, records.Accounts(s.accounts(ctx)), f, o)
	switch {
	case errors.Is(err, records.ErrBusy):
		busy := newProblem(http.StatusTooManyRequests, "EXPORTS_BUSY", "%s", sentence(err.Error()))
		busy.header = http.Header{"Retry-After": {"10"}}
		return nil, busy
	case errors.Is(err, records.ErrTooManyColumns):
		return nil, badRequest("%s", sentence(err.Error()))
	case err != nil:
		return nil, err
	}
	return &huma.StreamResponse{Body: func(out huma.Context) {
		defer export.Close()
		contentType, name := "application/x-ndjson", "responses.ndjson"
		if o.Format == records.CSV {
			contentType, name = "text/csv; charset=utf-8; header=present", "responses.csv"
		}
		out.SetHeader("Content-Type", contentType)
		out.SetHeader("Content-Disposition", `attachment; filename="`+name+`"`)
		s.write(ctx, chunksOf(out), export)
	}}, nil
}

// write streams an export. A part of a file must not look like all of it: after
// an error the connection is broken off.
func (s *stored) write(ctx context.Context, out *chunks, export *records.Export) {
	began := time.Now()
	responses, err := export.Write(ctx, out)
	log := s.Log.With(zap.String("token", callOf(ctx).token.Name), zap.Strings("accounts", s.accounts(ctx)),
		zap.Int("responses", responses), zap.Duration("took", time.Since(began)))
	switch {
	case err == nil:
		log.Info("responses exported")
	case ctx.Err() != nil:
		log.Info("an export was broken off: its client went, or the worker stops")
		out.Abort()
	default:
		log.Error("an export was broken off", zap.Error(storeError(err)))
		out.Abort()
	}
}
