package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
)

// source makes servers of one kind: from binaries or from container images.
type source struct {
	postgres func(durable bool) (instance, error)
	redis    func() (instance, error)
}

// errNothing is the sentence for a machine on which nothing can be started.
var errNothing = errors.New("no PostgreSQL and Redis servers to be found: " +
	"install them (Debian, Ubuntu: sudo apt-get install postgresql redis-server), " +
	"or start Docker, or set DATABASE_URL and REDIS_URL to servers you can spare")

// chooseSource finds where the servers that are needed can come from,
// installing them if that is possible.
func chooseSource(ctx context.Context, o Options, needPostgres, needRedis bool) (source, error) {
	pg, redis := findBinaries()
	missing := missingPackages(needPostgres && pg == "", needRedis && redis == "")
	if len(missing) > 0 && !o.NoInstall && CanInstall() {
		if err := Install(ctx, missing, o.Say); err != nil {
			return source{}, fmt.Errorf("%w; install %v yourself, or set DATABASE_URL and REDIS_URL to servers you can spare", err, missing)
		}
		pg, redis = findBinaries()
		missing = missingPackages(needPostgres && pg == "", needRedis && redis == "")
	}
	if len(missing) == 0 {
		return source{
			postgres: func(durable bool) (instance, error) { return newPostgres(pg, durable) },
			redis:    func() (instance, error) { return newRedis(redis) },
		}, nil
	}
	if dockerAnswers(ctx) {
		return source{
			postgres: func(durable bool) (instance, error) { return newPostgresContainer(durable) },
			redis:    func() (instance, error) { return newRedisContainer() },
		}, nil
	}
	return source{}, errNothing
}

func missingPackages(postgres, redis bool) []string {
	var missing []string
	if postgres {
		missing = append(missing, "postgresql")
	}
	if redis {
		missing = append(missing, "redis-server")
	}
	return missing
}

// findBinaries returns the directory of postgres and initdb, and the path of
// redis-server; empty for what is not there.
func findBinaries() (postgresDir, redisServer string) {
	redisServer, _ = exec.LookPath("redis-server")
	return findPostgres(os.Getenv("PG_BINDIR"), "/usr/lib/postgresql"), redisServer
}

// findPostgres looks in wanted, then in Debian's directories, newest version
// first (they are not on the PATH), then on the PATH.
func findPostgres(wanted, debian string) string {
	candidates := []string{wanted}
	versions, _ := filepath.Glob(filepath.Join(debian, "*", "bin"))
	sort.Slice(versions, func(i, j int) bool { return majorVersion(versions[i]) > majorVersion(versions[j]) })
	candidates = append(candidates, versions...)
	if path, err := exec.LookPath("initdb"); err == nil {
		candidates = append(candidates, filepath.Dir(path))
	}
	for _, dir := range candidates {
		if dir != "" && isExecutable(filepath.Join(dir, "postgres")) && isExecutable(filepath.Join(dir, "initdb")) {
			return dir
		}
	}
	return ""
}

// majorVersion of ".../postgresql/15/bin" is 15.
func majorVersion(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
