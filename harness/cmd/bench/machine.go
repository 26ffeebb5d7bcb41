package main

import (
	"bufio"
	"bytes"
	"context"
	"debug/buildinfo"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
)

// describeMachine names what the figures depend on. What cannot be found out is
// unknown; it is no reason to measure nothing.
func describeMachine(ctx context.Context, t *target, b build, c cores) (Machine, error) {
	m := Machine{CPU: cpuModel(), Kernel: "unknown", Go: "unknown", OpenSSL: "unknown", EdgeCPU: c.edge, OtherCPU: c.others}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(release))
	}
	if info, err := buildinfo.ReadFile(filepath.Join(b.bin, "caddy")); err == nil {
		m.Go = info.GoVersion
	}
	if version, err := run(ctx, b.root, "openssl", "version"); err == nil {
		m.OpenSSL, _, _ = strings.Cut(version, " (")
	}
	info, err := redisInfo(ctx, t.redis, "server")
	if err != nil {
		return m, err
	}
	m.Redis = info["redis_version"]
	err = t.Query(ctx, func(db *pgx.Conn) error { return db.QueryRow(ctx, "show server_version").Scan(&m.Postgres) })
	return m, err
}

// cpuModel is the processor's name in /proc/cpuinfo, where it has one, else its
// architecture.
func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	lines := bufio.NewScanner(bytes.NewReader(info))
	for lines.Scan() {
		if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
