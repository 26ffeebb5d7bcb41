package caddymodule

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// keyUse counts what one private key of an account has opened, so that an
// operator can tell when it may go. It belongs to the process, as the metrics do:
// neither a reload of the configuration nor one of the keys resets it.
type keyUse struct {
	since  time.Time // when this process first had the key
	total  prometheus.Counter
	opened atomic.Uint64
	last   atomic.Int64 // Unix nanoseconds; 0 when it never opened any

	// hours are the counts of the last 25 hours: number of the hour in the upper
	// half, count in the lower.
	hours [25]atomic.Uint64
}

var keyUses sync.Map // pair of account and fingerprint → *keyUse

func useOf(account, fingerprint string, now time.Time) *keyUse {
	name := pair{account, fingerprint}
	if use, ok := keyUses.Load(name); ok {
		return use.(*keyUse)
	}
	use, _ := keyUses.LoadOrStore(name, &keyUse{since: now, total: keyHitsTotal.WithLabelValues(account, short(fingerprint))})
	return use.(*keyUse)
}

// short is what logs and labels show of a fingerprint.
func short(fingerprint string) string { return fingerprint[:12] }

// count notes an envelope that was opened.
func (u *keyUse) count(now time.Time) {
	u.total.Inc()
	u.opened.Add(1)
	u.last.Store(now.UnixNano())
	hour := uint64(now.Unix() / 3600)
	slot := &u.hours[hour%uint64(len(u.hours))]
	for {
		before := slot.Load()
		after := before + 1
		if before>>32 != hour {
			after = hour<<32 | 1
		}
		if slot.CompareAndSwap(before, after) {
			return
		}
	}
}

// day is how many were opened in this hour and the 24 before it.
func (u *keyUse) day(now time.Time) (opened uint64) {
	hour := uint64(now.Unix() / 3600)
	for i := range u.hours {
		if slot := u.hours[i].Load(); slot>>32+uint64(len(u.hours)) > hour {
			opened += slot & (1<<32 - 1)
		}
	}
	return opened
}

func (u *keyUse) lastOpened() time.Time {
	if last := u.last.Load(); last != 0 {
		return time.Unix(0, last)
	}
	return time.Time{}
}

// heldKeys are the keys that serve, for a dashboard: their place in the list, and
// when they were read.
type heldKeys struct{}

var (
	keyPositionDesc = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "private_key_position"),
		"Place of each private key in its account's list; 1 is the current one.", []string{"account", "key"}, nil)
	keyLoadedDesc = prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, "secrets_loaded_timestamp_seconds"),
		"When the secrets and keys of an account were last read.", []string{"account"}, nil)
)

// Describe implements prometheus.Collector.
func (heldKeys) Describe(to chan<- *prometheus.Desc) {
	to <- keyPositionDesc
	to <- keyLoadedDesc
}

// Collect implements prometheus.Collector.
func (heldKeys) Collect(to chan<- prometheus.Metric) {
	report, err := reportKeys(time.Now())
	if err != nil {
		return // nothing is served
	}
	for _, account := range report.Accounts {
		to <- prometheus.MustNewConstMetric(keyLoadedDesc, prometheus.GaugeValue, float64(account.LoadedAt.UnixMilli())/1000, account.Account)
		for i, key := range account.Keys {
			to <- prometheus.MustNewConstMetric(keyPositionDesc, prometheus.GaugeValue, float64(i+1), account.Account, short(key.Fingerprint))
		}
	}
}
