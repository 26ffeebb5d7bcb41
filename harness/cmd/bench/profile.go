package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
)

var (
	profiled    = flag.String("profile", "", "a line of the table whose first run is profiled, such as data_exchange")
	profileFile = flag.String("profile-file", "edge.prof", "where its CPU profile goes")
	profileTime = flag.Int("profile-seconds", 3, "how long it lasts; the line must take longer")
)

// profile takes a CPU profile of the edge from its admin endpoint while the line
// named by -profile is measured. The function it returns waits for its end.
func profile(ctx context.Context, s *site.Site, name string) (finish func() error) {
	if *profiled == "" || name != *profiled {
		return func() error { return nil }
	}
	*profiled = "" // the first run only
	done := make(chan error, 1)
	go func() { done <- saveProfile(ctx, s.Admin) }()
	return func() error { return <-done }
}

func saveProfile(ctx context.Context, admin string) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, *profileTime)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	file, err := os.Create(*profileFile)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, response.Body)
	if errClose := file.Close(); err == nil {
		err = errClose
	}
	return err
}
