package demo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

// Run brings an installation up and leaves it running until ctx ends, showing
// what a person needs to try it and the callbacks as they come.
func Run(ctx context.Context, place Place, out io.Writer) error {
	err := withSite(ctx, place, out, func(ctx context.Context, s *site.Site) error {
		env, err := s.WriteEnv()
		if err != nil {
			return err
		}
		ca := s.RootCertificate()
		fmt.Fprintf(out, `URLs
  flow endpoint   %[1]s/flows/endpoint/%[2]s
  webhook         %[1]s/webhooks/whatsapp
  health          %[1]s/health
  edge metrics    http://%[3]s/metrics
  worker metrics  %[4]s/metrics
  Postgres        %[5]s
  Redis           %[6]s (keys begin with %[7]s)

Thrown away at the end
  secrets         %[8]s
  edge's log      %[11]s
  worker's log    %[12]s

Try
  curl --cacert %[9]s %[1]s/health
  curl --cacert %[9]s "%[1]s/webhooks/whatsapp?hub.mode=subscribe&hub.challenge=42&hub.verify_token=$(cat %[8]s/verify_token)"
  curl --cacert %[9]s -H "Authorization: Bearer $(cat %[8]s/api_token)" %[1]s/api/flows
  psql '%[5]s' -c 'SELECT * FROM flow_responses'
  . %[10]s; bin/worker flows load examples

`, s.EdgeURL, flowName, s.Admin, s.WorkerURL, s.DatabaseURL, s.RedisURL, s.Prefix, s.Secrets.Dir, ca, env, s.EdgeLog(), s.WorkerLog())
		fmt.Fprintln(out, "Running. Ctrl-C stops everything. Callbacks show here:")
		for shown := 0; ; {
			if err := s.Receiver.Wait(ctx, func(got []site.Callback) bool { return len(got) > shown }); err != nil {
				return err
			}
			for _, callback := range s.Receiver.Callbacks()[shown:] {
				fmt.Fprintf(out, "  %s  %s  %s\n", callback.At.Format("15:04:05"), signature(callback.Err), callback.Body)
				shown++
			}
		}
	})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(out, "\nStopped.")
		return nil
	}
	return err
}
