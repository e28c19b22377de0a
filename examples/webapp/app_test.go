package main

import (
	"bufio"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/internal/suite"
	"github.com/rhaptos/sessiondb/sessioncache"
	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/sid"
)

// service is the example with an account of the test's own.
type service struct {
	t      *testing.T
	pool   *pgxpool.Pool
	app    *app
	server *httptest.Server
	email  string
	log    *suite.Log
}

const password = "the password of a test"

func start(t *testing.T) service {
	t.Helper()
	t.Parallel()
	s := service{t: t, pool: sessiontest.NewPool(t), log: new(suite.Log)}
	s.app = newApp(t.Context(), s.pool, config{
		lifetime: sessioncache.DefaultLifetime, iterations: 1000, logger: s.log.Logger(slog.LevelInfo),
	})
	id := sid.New().String() // behind some poolers all tests share the tables
	s.email = id + "@example.org"
	if err := s.app.accounts.createTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.app.accounts.add(t.Context(), id, s.email, "Ada Lovelace", password); err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewTLSServer(s.app.handler())
	t.Cleanup(s.server.Close)
	return s
}

// credentials are the login form.
func (s service) credentials(more ...string) url.Values {
	form := url.Values{"email": {s.email}, "password": {password}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form
}

// browser is one without a screen.
type browser struct {
	service
	client *http.Client
}

func (s service) browser() browser {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return browser{s, &http.Client{Jar: jar, Transport: s.server.Client().Transport, Timeout: time.Minute}}
}

// loggedIn returns a browser that has logged in.
func (s service) loggedIn() browser {
	s.t.Helper()
	b := s.browser()
	b.want("POST", "/login", s.credentials(), "/", "Hello, Ada Lovelace")
	return b
}

// answer is what a browser gets in the end.
type answer struct {
	status  int
	at      string
	header  http.Header
	cookies []*http.Cookie
	body    io.Reader
}

func (b browser) send(method, path string, form url.Values, headers ...string) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "text/html")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = response.Body.Close() })
	if response.Header.Get("Cache-Control") != "no-store" || !strings.Contains(response.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		b.t.Errorf("%s %s: headers %v", method, path, response.Header)
	}
	return answer{response.StatusCode, response.Request.URL.Path, response.Header, response.Cookies(), response.Body}
}

// do makes a request and returns what is shown in the end, and where.
func (b browser) do(method, path string, form url.Values, headers ...string) (status int, page, at string) {
	b.t.Helper()
	a := b.send(method, path, form, headers...)
	text, err := io.ReadAll(a.body)
	if err != nil {
		b.t.Fatal(err)
	}
	return a.status, string(text), a.at
}

func (b browser) wantStatus(want int, method, path string, form url.Values, at, text string) (page string) {
	b.t.Helper()
	status, page, got := b.do(method, path, form)
	if status != want || got != at || !strings.Contains(page, text) {
		b.t.Errorf("%s %s: %d at %s; want %d, %q at %s:\n%s", method, path, status, got, want, text, at, page)
	}
	return page
}

func (b browser) want(method, path string, form url.Values, at, text string) (page string) {
	b.t.Helper()
	return b.wantStatus(http.StatusOK, method, path, form, at, text)
}

func (b browser) wantLoggedOut() {
	b.t.Helper()
	b.want("GET", "/devices", nil, "/login", "You have been logged out")
}

// cookie returns the session cookie as the browser has it, empty if it has none.
func (b browser) cookie() string {
	b.t.Helper()
	server, err := url.Parse(b.server.URL)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, cookie := range b.client.Jar.Cookies(server) {
		if cookie.Name == "__Host-session" {
			return cookie.Value
		}
	}
	return ""
}

var row = regexp.MustCompile(`(?s)<li( class="current")?>(.*?)</li>`)

// listed is a line of the devices page.
type listed struct {
	current      bool
	text, handle string
}

func (b browser) devices() (list []listed) {
	b.t.Helper()
	page := b.want("GET", "/devices", nil, "/devices", "Where you are logged in")
	for _, match := range row.FindAllStringSubmatch(page, -1) {
		_, handle, _ := strings.Cut(match[2], `name="handle" value="`)
		handle, _, _ = strings.Cut(handle, `"`)
		list = append(list, listed{match[1] != "", match[2], handle})
	}
	return list
}

// device returns the line of this browser, or of another one.
func (b browser) device(current bool) listed {
	b.t.Helper()
	for _, d := range b.devices() {
		if d.current == current {
			return d
		}
	}
	b.t.Fatal("no such device is listed")
	return listed{}
}

// age makes the browser's session older.
func (b browser) age(d time.Duration) {
	b.t.Helper()
	sessiontest.Elapse(b.t, b.pool, handle(b.device(true).handle), d)
}

type handle string

func (h handle) String() string { return string(h) }

func TestLogin(t *testing.T) {
	s := start(t)
	b := s.browser()
	b.want("GET", "/devices", nil, "/login", "Demo users")
	for _, wrong := range []url.Values{
		s.credentials("password", "another password of a test"),
		s.credentials("email", "nobody@example.org"),
		s.credentials("email", "\x00"),
		s.credentials("email", "\xff"),
		{},
	} {
		page := b.wantStatus(http.StatusUnauthorized, "POST", "/login", wrong, "/login", "The email address or the password is wrong.")
		if strings.Contains(page, "Hello") || b.cookie() != "" {
			t.Errorf("%v logs in", wrong)
		}
	}
	b.want("POST", "/login", s.credentials("email", " "+strings.ToUpper(s.email)), "/", "Hello, Ada Lovelace")
	b.want("GET", "/login", nil, "/", "Hello")
	b.want("POST", "/logout", nil, "/login", "Demo users")
	if b.cookie() != "" {
		t.Error("a cookie is left after the logout")
	}
	if log := s.log.String(); strings.Count(log, "login failed") != 5 || !strings.Contains(log, `msg="logged in"`) || !strings.Contains(log, `msg="logged out"`) {
		t.Errorf("the log says:\n%s", log)
	}
}

// TestReturnToThePage: a login leads to the page that needed it, also after a wrong password,
// and never to another site.
func TestReturnToThePage(t *testing.T) {
	s := start(t)
	b := s.browser()
	page := b.want("GET", "/devices?done=device", nil, "/login", "Demo users")
	if !strings.Contains(page, `name="next" value="/devices?done=device"`) {
		t.Errorf("the form does not pass the page on:\n%s", page)
	}
	form := s.credentials("next", "/devices?done=device", "password", "another password of a test")
	page = b.wantStatus(http.StatusUnauthorized, "POST", "/login", form, "/login", "is wrong")
	if !strings.Contains(page, `name="next" value="/devices?done=device"`) {
		t.Errorf("after a wrong password the form does not pass the page on:\n%s", page)
	}
	b.want("POST", "/login", s.credentials("next", "/devices?done=device"), "/devices", "The device is logged out.")
	b.want("GET", "/login?next=/password", nil, "/password", "New password")
	s.browser().want("POST", "/login", s.credentials("next", "https://evil.example/"), "/", "Hello")

	// An old login is confirmed on the way.
	b.age(maxLoginAge + time.Second)
	page = b.want("GET", "/password?again=1", nil, "/confirm", "Current password")
	if !strings.Contains(page, `name="next" value="/password?again=1"`) {
		t.Errorf("the form does not pass the page on:\n%s", page)
	}
	if !strings.Contains(page, `autocomplete="username" value="`+s.email+`"`) {
		t.Errorf("a password manager is not told the account:\n%s", page)
	}
	page = b.want("POST", "/confirm", url.Values{"password": {password}, "next": {"/password?again=1"}}, "/password", "New password")
	if !strings.Contains(page, `autocomplete="username" value="`+s.email+`"`) {
		t.Errorf("a password manager is not told the account:\n%s", page)
	}
}

func TestNotFound(t *testing.T) {
	s := start(t)
	for _, b := range []browser{s.browser(), s.loggedIn()} {
		b.wantStatus(http.StatusNotFound, "GET", "/nowhere", nil, "/nowhere", "There is no such page.")
		b.wantStatus(http.StatusNotFound, "POST", "/nowhere", nil, "/nowhere", "There is no such page.")
	}
}

func TestRemember(t *testing.T) {
	s := start(t)
	for remember, want := range map[string]int{"": 0, "yes": int(rememberedFor / time.Second)} {
		b := s.browser()
		b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		for _, cookie := range b.send("POST", "/login", s.credentials("remember", remember)).cookies {
			if cookie.MaxAge != want {
				t.Errorf("remember %q: %s has a Max-Age of %d; want %d", remember, cookie.Name, cookie.MaxAge, want)
			}
		}
		says, lifetime := "<small>Ends on ", sessioncache.DefaultLifetime
		if remember != "" {
			says, lifetime = "<small>Ends after 14 days unused, at the latest on ", rememberedFor
		}
		_, text, _ := strings.Cut(b.device(true).text, says)
		text, _, _ = strings.Cut(text, "</small>")
		ends, err := time.Parse("2 Jan 2006, 15:04:05 MST", text)
		if off := time.Until(ends) - lifetime; err != nil || off.Abs() > time.Minute {
			t.Errorf("remember %q: it ends at %s, %v; want in %s", remember, text, err, lifetime)
		}
	}
}

func TestDevices(t *testing.T) {
	s := start(t)
	here, there := s.loggedIn(), s.loggedIn()
	if list := here.devices(); len(list) != 2 || list[0].current == list[1].current {
		t.Fatalf("listed: %+v", list)
	}
	other := here.device(false)
	if !regexp.MustCompile(`Logged in <time datetime="[-0-9T:]+Z">\d+ \w+ \d+, [\d:]+ UTC</time>`).MatchString(other.text) {
		t.Errorf("no time with a zone: %s", other.text)
	}
	form := url.Values{"handle": {other.handle}}
	here.want("POST", "/devices/logout", form, "/devices", "The device is logged out.")
	here.want("POST", "/devices/logout", form, "/devices", "The device is logged out.") // a second click
	there.wantLoggedOut()
	here.want("POST", "/devices/logout", url.Values{"handle": {here.device(true).handle}}, "/login", "Demo users")

	here, there = s.loggedIn(), s.loggedIn()
	here.want("POST", "/devices/logout-others", nil, "/devices", "All other devices are logged out.")
	there.wantLoggedOut()

	there = s.loggedIn()
	here.want("POST", "/devices/logout-everywhere", nil, "/login", "Demo users")
	there.wantLoggedOut()

	here, there = s.loggedIn(), s.loggedIn()
	there.age(2 * sessioncache.DefaultLifetime)
	there.want("GET", "/devices", nil, "/login", "Your login has expired.")
	if list := here.devices(); len(list) != 1 {
		t.Errorf("an expired login is listed: %+v", list)
	}
}

// TestNobodyElsesDevice: a handle that somebody has seen is of no use to others.
func TestNobodyElsesDevice(t *testing.T) {
	s := start(t)
	victim := s.loggedIn()
	id := sid.New().String()
	if err := s.app.accounts.add(t.Context(), id, id+"@example.org", "Grace Hopper", password); err != nil {
		t.Fatal(err)
	}
	thief := s.browser()
	thief.want("POST", "/login", s.credentials("email", id+"@example.org"), "/", "Hello, Grace Hopper")
	thief.want("POST", "/devices/logout", url.Values{"handle": {victim.device(true).handle}}, "/devices", "Where you")
	thief.want("POST", "/devices/logout-others", nil, "/devices", "Where you")
	victim.want("GET", "/", nil, "/", "Hello, Ada Lovelace")
}

func TestChangePassword(t *testing.T) {
	s := start(t)
	here, there := s.loggedIn(), s.loggedIn()
	change := url.Values{"password": {"a new password of a test"}}

	// A login that is too old has to be confirmed.
	here.age(maxLoginAge + time.Second)
	here.want("POST", "/password", change, "/confirm", "Current password")
	here.want("GET", "/password", nil, "/confirm", "Current password")
	here.wantStatus(http.StatusUnauthorized, "POST", "/confirm", change, "/confirm", "The password is wrong.")
	here.want("GET", "/password", nil, "/confirm", "Current password")
	before := here.cookie()
	here.want("POST", "/confirm", url.Values{"password": {password}}, "/password", "New password")
	if here.cookie() == before {
		t.Error("the token is not renewed by the confirmation")
	}

	here.wantStatus(http.StatusUnprocessableEntity, "POST", "/password", url.Values{"password": {"too short"}}, "/password", "15 characters or more")
	there.want("GET", "/devices", nil, "/devices", "Where you") // nothing has changed
	before = here.cookie()
	here.want("POST", "/password", change, "/devices", "The password is changed.")
	if here.cookie() == before {
		t.Error("the token is not renewed by the change")
	}
	there.wantLoggedOut()
	there.wantStatus(http.StatusUnauthorized, "POST", "/login", s.credentials(), "/login", "is wrong")
	there.want("POST", "/login", s.credentials("password", change.Get("password")), "/", "Hello")
}

// TestPasswordChangesDuringLogin: a login whose password was verified before a change
// is not stored after it.
func TestPasswordChangesDuringLogin(t *testing.T) {
	s := start(t)
	change, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = change.Rollback(t.Context()) }()
	var pid int
	err = change.QueryRow(t.Context(), "UPDATE webapp_users SET password = 'another' WHERE email = $1 RETURNING pg_backend_pid()", s.email).Scan(&pid)
	if err != nil {
		t.Fatal(err)
	}
	b := s.browser()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		b.wantStatus(http.StatusUnauthorized, "POST", "/login", s.credentials(), "/login", "is wrong")
	}()
	for waits := false; !waits; {
		select {
		case <-answered:
			t.Fatal("the login does not wait for the change")
		default:
		}
		err := s.pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1::int = ANY (pg_blocking_pids(pid)))", pid).Scan(&waits)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := change.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-answered
	if b.cookie() != "" {
		t.Error("the login was stored after the change")
	}
}

func TestBasket(t *testing.T) {
	s := start(t)
	b := s.browser()
	b.want("GET", "/", nil, "/", "It is empty.")
	if b.cookie() != "" {
		t.Error("looking at the shop begins a session")
	}
	b.wantStatus(http.StatusBadRequest, "POST", "/basket", url.Values{"item": {"Diamonds"}}, "/basket", "We do not sell that.")
	b.want("POST", "/basket", url.Values{"item": {"Coffee"}}, "/", "<li>Coffee</li>")
	visitors := b.cookie()
	b.want("GET", "/devices", nil, "/login", "Demo users") // a visitor has not logged in

	b.want("POST", "/login", s.credentials(), "/", "<li>Coffee</li>")
	if b.cookie() == visitors {
		t.Error("the login keeps the visitor's token")
	}
	page := b.want("POST", "/basket", url.Values{"item": {"Bread"}}, "/", "Hello, Ada Lovelace")
	if strings.Count(page, "<li>Coffee</li>") != 1 || strings.Count(page, "<li>Bread</li>") != 1 {
		t.Errorf("the basket:\n%s", page)
	}
	for range maxItems - 2 {
		b.want("POST", "/basket", url.Values{"item": {"Apples"}}, "/", "<li>Apples</li>")
	}
	b.wantStatus(http.StatusConflict, "POST", "/basket", url.Values{"item": {"Bread"}}, "/basket", "The basket is full.")
	b.want("POST", "/basket/empty", nil, "/", "It is empty.")
	b.want("POST", "/logout", nil, "/login", "Demo users")
	b.want("GET", "/", nil, "/", "Welcome")
}

// stream returns the lines of the event stream as they come.
func (b browser) stream() *bufio.Scanner {
	b.t.Helper()
	a := b.send("GET", "/live", nil, "Accept", "text/event-stream")
	if got := a.header.Get("Content-Type"); a.status != http.StatusOK || got != "text/event-stream" {
		b.t.Fatalf("GET /live: %d, %s", a.status, got)
	}
	return bufio.NewScanner(a.body)
}

func wantLines(t *testing.T, stream *bufio.Scanner, want ...string) {
	t.Helper()
	for _, line := range want {
		if !stream.Scan() || stream.Text() != line {
			t.Fatalf("the stream says %q, %v; want %q", stream.Text(), stream.Err(), line)
		}
	}
}

func wantEnd(t *testing.T, stream *bufio.Scanner) {
	t.Helper()
	if stream.Scan() && (stream.Text() != "" || stream.Scan()) || stream.Err() != nil {
		t.Fatalf("the stream goes on with %q, %v", stream.Text(), stream.Err())
	}
}

func TestLive(t *testing.T) {
	s := start(t)
	here, there := s.loggedIn(), s.loggedIn()
	loggedOut := []string{"retry: 500", "event: logged-out", "data:", ""}

	stream := there.stream()
	wantLines(t, stream, "retry: 500", ": connected", "")
	here.want("POST", "/devices/logout-others", nil, "/devices", "All other")
	wantEnd(t, stream)
	wantLines(t, there.stream(), loggedOut...) // what the browser asks next
	wantLines(t, s.browser().stream(), loggedOut...)

	// A new token ends the stream, too, and the next one stays.
	stream = here.stream()
	wantLines(t, stream, "retry: 500", ": connected", "")
	here.want("POST", "/confirm", url.Values{"password": {password}}, "/password", "New password")
	wantEnd(t, stream)
	wantLines(t, here.stream(), "retry: 500", ": connected", "")
}

// TestCrossSiteRequestsAreRefused: SameSite is not all that keeps a form on
// another site from logging a user in or out.
func TestCrossSiteRequestsAreRefused(t *testing.T) {
	s := start(t)
	b := s.loggedIn()
	form := s.credentials("item", "Coffee", "handle", b.device(true).handle)
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"}, // a sister host: SameSite=Lax lets it send the cookie
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
	} {
		for _, path := range []string{
			"/login", "/logout", "/basket", "/basket/empty", "/confirm", "/password",
			"/devices/logout", "/devices/logout-others", "/devices/logout-everywhere",
		} {
			if status, _, _ := b.do("POST", path, form, headers...); status != http.StatusForbidden {
				t.Errorf("POST %s with %s: %d; want 403", path, headers, status)
			}
		}
	}
	if page := b.want("GET", "/", nil, "/", "Hello"); !strings.Contains(page, "It is empty.") {
		t.Error("another site has filled the basket")
	}
	if status, _, at := b.do("POST", "/logout", nil, "Sec-Fetch-Site", "same-origin", "Origin", b.server.URL); status != http.StatusOK || at != "/login" {
		t.Errorf("POST of our own page: %d at %s", status, at)
	}
}

// TestDatabaseDown: a stranger and a user read the same, and nobody is logged out.
func TestDatabaseDown(t *testing.T) {
	s := start(t)
	b, visitor, stranger := s.loggedIn(), s.browser(), s.browser()
	visitor.want("POST", "/basket", url.Values{"item": {"Coffee"}}, "/", "<li>Coffee</li>")
	cookie := b.cookie()
	s.pool.Close()
	var pages []string
	for _, request := range []struct {
		browser
		method, path string
	}{
		{stranger, "POST", "/login"},
		{stranger, "POST", "/basket"},
		{visitor, "GET", "/"},
		{visitor, "GET", "/login"},
		{b, "GET", "/"},
		{b, "GET", "/login"},
		{b, "GET", "/devices"},
		{b, "GET", "/password"},
		{b, "GET", "/live"},
		{b, "POST", "/logout"},
		{b, "POST", "/login"},
		{b, "POST", "/password"},
	} {
		pages = append(pages, request.wantStatus(http.StatusServiceUnavailable, request.method, request.path,
			s.credentials("item", "Coffee"), request.path, "Please try again"))
	}
	for _, page := range pages {
		if page != pages[0] {
			t.Errorf("one reads\n%s\nand another\n%s", pages[0], page)
		}
	}
	if b.cookie() != cookie {
		t.Error("the cookie has changed")
	}
}

func TestDevice(t *testing.T) {
	t.Parallel()
	for userAgent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/149.0.0.0 Safari/537.36": "Chrome on Linux",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1 Version/18.0 Safari/604.1":            "Safari on iPhone",
		"curl/8.0":        "curl",
		"<script>":        "Unknown device",
		"Windows NT 10.0": "Windows",
	} {
		if got := device(userAgent); got != want {
			t.Errorf("device(%q) = %q; want %q", userAgent, got, want)
		}
	}
}
