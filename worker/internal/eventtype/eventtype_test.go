package eventtype

import (
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWants(t *testing.T) {
	tests := map[string]struct {
		s             Subscription
		t             Type
		account, flow string
		want          bool
	}{
		"its type":                          {Subscription{"*", []string{"flow.completed"}, nil}, FlowCompleted, "a", "", true},
		"another type":                      {Subscription{"*", []string{"flow.completed"}, nil}, FlowScreen, "a", "", false},
		"a pattern":                         {Subscription{"*", []string{"message.*"}, nil}, MessageStatus, "a", "", true},
		"another pattern":                   {Subscription{"*", []string{"message.*"}, nil}, FlowScreen, "a", "", false},
		"everything":                        {Subscription{"*", []string{"*"}, nil}, WebhookReceived, "a", "", true},
		"nothing":                           {Subscription{"*", nil, nil}, FlowCompleted, "a", "", false},
		"its account":                       {Subscription{"a", []string{"*"}, nil}, FlowCompleted, "a", "", true},
		"another account":                   {Subscription{"a", []string{"*"}, nil}, FlowCompleted, "b", "", false},
		"its flow":                          {Subscription{"*", []string{"*"}, []string{"x", "y"}}, FlowCompleted, "a", "y", true},
		"another flow":                      {Subscription{"*", []string{"*"}, []string{"x"}}, FlowCompleted, "a", "z", false},
		"no flow, where some are wanted":    {Subscription{"*", []string{"*"}, []string{"x"}}, MessageReceived, "a", "", false},
		"a prefix is no pattern without *":  {Subscription{"*", []string{"flow"}, nil}, FlowCompleted, "a", "", false},
		"an empty list of flows wants none": {Subscription{"*", []string{"*"}, []string{}}, FlowCompleted, "a", "x", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.s.Wants(test.t, test.account, test.flow); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestIDsOfEventsDiffer(t *testing.T) {
	subject := uuid.Must(uuid.NewV7())
	seen := map[uuid.UUID]bool{}
	for _, typ := range All() {
		for _, position := range []int{0, 1, 255, 256, 1000, 1 << 20} {
			id := ID(typ, subject, position)
			if seen[id] || id == subject {
				t.Fatalf("%s at %d has the id of another", typ, position)
			}
			if id.Version() != 7 || [8]byte(id[:8]) != [8]byte(subject[:8]) {
				t.Fatalf("%s is no UUIDv7 of the same time", id)
			}
			seen[id] = true
		}
	}
}

func TestCheckPattern(t *testing.T) {
	for _, good := range []string{"flow.completed", "flow.*", "*", "webhook.received", "endpoint.*"} {
		if err := CheckPattern(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "flow_completed", "flow.done", "*.completed", "**", "flows.*", "flow.completed "} {
		if CheckPattern(bad) == nil {
			t.Errorf("%q passes", bad)
		}
	}
}
