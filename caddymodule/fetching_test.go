package caddymodule

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowtoken"
)

const (
	slots     = "/flows/endpoint/slots"
	slotsSite = `
	whatsapp_flow /flows/endpoint* {
		endpoint engine
		flows testdata/fetching
	}`
)

// newCalendar is the upstream of testdata/fetching: two free times, and every
// booking succeeds.
func newCalendar(t testing.TB) *service {
	t.Helper()
	s := newService(t)
	s.answers(calendar)
	return s
}

func calendar(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /api/slots":
		_, _ = io.WriteString(w, `[{"id":"0900","title":"09:00"},{"id":"1015","title":"10:15"}]`)
	case "POST /api/bookings":
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"code":"A-17"}`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func calendarGlobal(s *service) string {
	return "\n\twhatsapp_flows {\n\t\tupstream calendar " + s.URL + "/api\n\t}"
}

func offered(data map[string]any) string {
	raw, _ := json.Marshal(data["slots"])
	return string(raw)
}

const twoSlots = `[{"id":"0900","title":"09:00"},{"id":"1015","title":"10:15"}]`

func TestADropdownIsFilledByAFetchAndABookingIsMade(t *testing.T) {
	api := newCalendar(t)
	s := newSite(t).load(calendarGlobal(api), slotsSite)
	day := privateAnswer + "/../?&#" // whatever a user types stays one value of the query
	s.want(slots, step("INIT", "", "tok", nil), "DAY")
	data := s.want(slots, step("data_exchange", "DAY", "tok", request{"day": day}), "SLOT")
	if offered(data) != twoSlots || data["hint"] != "Choose one" {
		t.Errorf("screen SLOT shows %v", data)
	}
	data = s.want(slots, step("data_exchange", "SLOT", "tok", request{"slot": "1015"}), "DONE")
	if data["code"] != "A-17" {
		t.Errorf("screen DONE shows %v", data)
	}
	calls := api.served()
	if len(calls) != 2 {
		t.Fatalf("the calendar was asked %v", calls)
	}
	get, post := calls[0], calls[1]
	if asked, err := http.NewRequest(get.method, get.uri, nil); err != nil || asked.URL.Path != "/api/slots" || asked.URL.Query().Get("day") != day {
		t.Errorf("the calendar was asked %s %s", get.method, get.uri)
	}
	var booked struct{ Day, Slot, Reference string }
	if err := json.Unmarshal([]byte(post.body), &booked); err != nil || booked.Day != day || booked.Slot != "1015" || booked.Reference == "" {
		t.Errorf("the booking is %s", post.body)
	}
	if post.method != http.MethodPost || post.uri != "/api/bookings" || post.key == "" || get.key != "" {
		t.Errorf("the calendar was asked %v", calls)
	}
}

func TestWhatAUserSeesWhenTheCalendarFails(t *testing.T) {
	for name, c := range map[string]struct {
		fail    func(w http.ResponseWriter, r *http.Request) bool
		offered string
		hint    string
		message string // on the booking; empty: it succeeds
	}{
		"it cannot list times": {
			func(w http.ResponseWriter, r *http.Request) bool {
				w.WriteHeader(http.StatusInternalServerError)
				return true
			}, `[{"id":"call","title":"We call you"}]`, "The calendar is away", "Please try again",
		},
		"it hangs up": {
			func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
			`[{"id":"call","title":"We call you"}]`, "The calendar is away", "Please try again",
		},
		"it answers a page": {
			func(w http.ResponseWriter, _ *http.Request) bool { _, _ = io.WriteString(w, "<html>"); return true },
			`[{"id":"call","title":"We call you"}]`, "The calendar is away", "Please try again",
		},
		"the time has gone": {
			func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost {
					w.WriteHeader(http.StatusConflict)
				}
				return r.Method == http.MethodPost
			}, twoSlots, "Choose one", "This time is gone",
		},
		"it is slow to book": {
			func(_ http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost {
					<-r.Context().Done()
				}
				return r.Method == http.MethodPost
			}, twoSlots, "Choose one", "Please try again",
		},
	} {
		t.Run(name, func(t *testing.T) {
			api := newCalendar(t)
			api.answers(func(w http.ResponseWriter, r *http.Request) {
				if !c.fail(w, r) {
					calendar(w, r)
				}
			})
			s := newSite(t).load(calendarGlobal(api), slotsSite)
			s.want(slots, step("INIT", "", "tok", nil), "DAY")
			data := s.want(slots, step("data_exchange", "DAY", "tok", request{"day": "2026-11-24"}), "SLOT")
			if offered(data) != c.offered || data["hint"] != c.hint {
				t.Errorf("screen SLOT shows %v", data)
			}
			start := time.Now()
			data = s.want(slots, step("data_exchange", "SLOT", "tok", request{"slot": "0900"}), "SLOT")
			if data["error_message"] != c.message || offered(data) != c.offered {
				t.Errorf("screen SLOT shows %v", data)
			}
			if took := time.Since(start); took > defaultTimeout {
				t.Errorf("it took %s", took)
			}
			// Nothing is lost: once the calendar is well, the user books.
			api.answers(calendar)
			s.want(slots, step("data_exchange", "SLOT", "tok", request{"slot": "1015"}), "DONE")
		})
	}
}

func TestALogicThatBooksBooksOnceWhenAnotherRequestGetsInBetween(t *testing.T) {
	api := newCalendar(t)
	var s *site
	var once sync.Once
	engineWith(func(_ context.Context, turn *Turn) error {
		if turn.Request.Screen == "SLOT" {
			once.Do(func() { // in another window the user has chosen another day
				s.want(slots, step("data_exchange", "DAY", "tok", request{"day": "2026-12-01"}), "SLOT")
			})
		}
		return nil
	})
	s = newSite(t).loadTestWith(calendarGlobal(api), strings.ReplaceAll(slotsSite, "endpoint engine", "endpoint test"))
	s.want(slots, step("INIT", "", "tok", nil), "DAY")
	s.want(slots, step("data_exchange", "DAY", "tok", request{"day": "2026-11-24"}), "SLOT")
	s.want(slots, step("data_exchange", "SLOT", "tok", request{"slot": "0900"}), "DONE")
	var bookings []string
	for _, call := range api.served() {
		if call.method == http.MethodPost {
			bookings = append(bookings, call.body)
		}
	}
	if len(bookings) != 1 || !strings.Contains(bookings[0], "2026-11-24") {
		t.Errorf("booked %v", bookings)
	}
	if n := len(s.events()); n != 4 {
		t.Errorf("%d events, expected 4", n)
	}
}

func TestManyUsersWhoAskForTheSameDayAreOneCall(t *testing.T) {
	const users = 64
	api := newCalendar(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	api.answers(func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(arrived) })
		<-release
		calendar(w, r)
	})
	s := newSite(t).load(calendarGlobal(api), slotsSite)
	var all sync.WaitGroup
	var sent atomic.Int32
	for user := range users {
		e := seal(t, s.public, step("data_exchange", "DAY", fmt.Sprint("tok-", user), request{"day": "2026-11-24"}))
		all.Go(func() {
			sent.Add(1)
			a, err := s.try(http.MethodPost, slots, signed(e.body), e.body)
			// More than this machine can decrypt in time are turned away, and come again.
			for tries := 1; err == nil && a.status == http.StatusServiceUnavailable && tries < 20; tries++ {
				a, err = s.try(http.MethodPost, slots, signed(e.body), e.body)
			}
			if err != nil || a.status != http.StatusOK {
				t.Errorf("status %d, %v", a.status, err)
				return
			}
			if data, _ := e.open(t, a)["data"].(map[string]any); offered(data) != twoSlots {
				t.Errorf("a user is offered %v", data)
			}
		})
	}
	<-arrived
	eventually(t, 5*time.Second, "all have asked", func() bool { return sent.Load() == users })
	close(release)
	all.Wait()
	s.want(slots, step("data_exchange", "DAY", "tok-late", request{"day": "2026-11-24"}), "SLOT")
	if calls := api.served(); len(calls) != 1 {
		t.Errorf("the calendar was asked %d times", len(calls))
	}
	s.want(slots, step("data_exchange", "DAY", "tok-late", request{"day": "2026-11-25"}), "SLOT")
	if calls := api.served(); len(calls) != 2 {
		t.Errorf("the calendar was asked %d times, expected once a day", len(calls))
	}
}

func TestAPublishedFlowThatFetchesFromNowhereIsServedWithAWarning(t *testing.T) {
	s := newSite(t)
	flowJSON, err := os.ReadFile("testdata/fetching/slots/flow.json")
	if err != nil {
		t.Fatal(err)
	}
	logic, err := os.ReadFile("testdata/fetching/slots/logic.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.publishLogic("default", "slots", flowJSON, logic)
	s.load("\n\twhatsapp_flows {\n\t\tupstream orders https://orders.invalid\n\t}", publishedSite)
	for range 2 {
		s.want(slots, step("INIT", "", "tok", nil), "DAY")
		data := s.want(slots, step("data_exchange", "DAY", "tok", request{"day": "2026-11-24"}), "SLOT")
		if data["hint"] != "The calendar is away" {
			t.Errorf("screen SLOT shows %v", data)
		}
	}
	log, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	const warning = "its logic fetches from calendar, but the global option whatsapp_flows defines as upstream: orders"
	if n := strings.Count(string(log), warning); n != 1 {
		t.Errorf("the log says it %d times", n)
	}

	// With the upstream, after a reload, the same flow books.
	api := newCalendar(t)
	s.load(calendarGlobal(api), publishedSite)
	s.want(slots, step("INIT", "", "tok-2", nil), "DAY")
	s.want(slots, step("data_exchange", "DAY", "tok-2", request{"day": "2026-11-24"}), "SLOT")
	s.want(slots, step("data_exchange", "SLOT", "tok-2", request{"slot": "0900"}), "DONE")
}

func TestTheNameInASignedTokenIsKnownToLogic(t *testing.T) {
	t.Setenv("FLOW_TOKEN_SECRET", testSecret)
	s := newSite(t)
	s.publishLogic("default", "booking", bookingJSON(t), []byte(`{"screens":{"ROOM":{"data":{"name":"'Hi ' + user.name + ' of ' + user.id"}}}}`))
	s.load("", publishedSite)
	token := mint(t, "u-7", "Grace")
	s.want(booking, step("INIT", "", token, nil), "NAME")
	if data := s.want(booking, step("data_exchange", "NAME", token, request{"name": "x"}), "ROOM"); data["name"] != "Hi Grace of u-7" {
		t.Errorf("screen ROOM shows %v", data)
	}
}

func mint(t testing.TB, user, name string) string {
	t.Helper()
	token, err := flowtoken.Mint([]byte(testSecret), flowtoken.Claims{User: user, Name: name, Expires: time.Now().Add(time.Hour)}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
