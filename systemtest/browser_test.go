package systemtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// screenshots is the folder, under this one, where a person may look at what the
// browsers saw.
const screenshots = "screenshots"

// TestBrowser has two real browsers use the webapp example: a laptop and a phone.
func TestBrowser(t *testing.T) {
	t.Parallel()
	if err := os.MkdirAll(screenshots, 0o755); err != nil {
		t.Fatal(err)
	}
	app := newWebapp(t, "localhost")
	app.start(t)
	laptop, phone := app.browser(t, 1100, 900), app.browser(t, 360, 740, chromedp.EmulateMobile, chromedp.EmulateTouch)
	const password, another = "first programmer 1843", "second programmer 1952"

	// A visitor on the phone fills a basket, and has it after the login.
	phone.open(t, app.url, `#goods`)
	phone.screenshot(t, "01-shop")
	phone.click(t, `button[value="Coffee"]`, `#items`)
	phone.click(t, `button[value="Bread"]`, `#items li:nth-child(2)`)
	phone.screenshot(t, "02-visitors-basket")
	visitor := phone.token(t, false)
	phone.click(t, `a[href="/login"].main`, `#login`)
	phone.screenshot(t, "03-login")
	phone.logIn(t, another, false, `#alert`)
	phone.wantText(t, `#alert`, "The email address or the password is wrong.")
	phone.screenshot(t, "04-wrong-password")
	phone.logIn(t, password, false, `nav form[action="/logout"]`)
	phone.wantText(t, `h1`, "Hello, Ada Lovelace")
	phone.wantText(t, `#items li:nth-child(2)`, "Bread")
	phone.screenshot(t, "05-users-basket")
	if visitor == "" || phone.token(t, false) == visitor {
		t.Error("the login keeps the visitor's token")
	}

	// The laptop's login is remembered. It ends at the page that needed it.
	laptop.open(t, app.url+"devices?done=others", `#login`)
	laptop.screenshot(t, "06-login")
	laptop.logIn(t, password, true, `.notice`)
	laptop.wantText(t, `.notice`, "All other devices are logged out.")
	laptop.wantText(t, `.rows .current strong`, "Chrome on Linux")
	if ends := ask(t, laptop, chromedp.Text(chromedp.CSS(`.rows .current small:last-of-type`))); !strings.HasPrefix(ends, "Ends after 14 days unused, at the latest on ") {
		t.Errorf("the page says %q", ends)
	}
	laptop.open(t, app.url, `nav form[action="/logout"]`)
	laptop.screenshot(t, "07-shop")
	laptop.token(t, true)

	// The page's scripts see the profile, and not the session.
	visible := ask(t, laptop, chromedp.Evaluate[string](`document.cookie`))
	if strings.Contains(visible, "session") || !strings.Contains(visible, "__Host-profile=") {
		t.Errorf("document.cookie is %q; want the profile cookie alone", visible)
	}
	laptop.wantText(t, `#profile`, "Ada Lovelace")

	// The laptop logs the phone out; the phone's page shows it.
	phone.open(t, app.url+"devices", connected)
	phone.screenshot(t, "08-devices")
	phone.dark(t, true)
	phone.screenshot(t, "09-devices-dark")
	phone.dark(t, false)
	laptop.open(t, app.url+"devices", connected)
	laptop.screenshot(t, "10-devices")
	laptop.click(t, `.rows li:not(.current) button`, `.notice`)
	laptop.wantText(t, `.notice`, "The device is logged out.")
	laptop.do(t, chromedp.WaitNotPresent(chromedp.CSS(`.rows li:nth-child(2)`)))
	phone.do(t, chromedp.WaitNotPresent(chromedp.CSS(`#devices`)))
	phone.wantText(t, `h1`, "You are logged out")
	phone.screenshot(t, "11-logged-out")
	phone.click(t, `a[href="/login"]`, `#login`)
	phone.wantText(t, `.notice`, "You have been logged out, perhaps on another device.")
	phone.screenshot(t, "12-login-again")
	phone.logIn(t, password, false, `nav form[action="/logout"]`)
	phone.open(t, app.url+"devices", connected)

	// An old login has to be confirmed before the password can be changed. Then the
	// other device is logged out, and the old password is no good.
	laptop.open(t, app.url+"devices", connected)
	handle := ask(t, laptop, chromedp.AttributeValue(chromedp.CSS(`.rows .current [name="handle"]`), "value")).Value
	sessiontest.Elapse(t, app.pool, named(handle), 6*time.Minute)
	token := laptop.token(t, true)
	laptop.click(t, `nav a[href="/password"]`, `#confirm`)
	laptop.screenshot(t, "13-confirm")
	laptop.submit(t, `#confirm`, `#change`, `#password`, password)
	laptop.screenshot(t, "14-password")
	confirmed := laptop.token(t, true)
	laptop.submit(t, `#change`, `.notice`, `#password`, another)
	laptop.wantText(t, `.notice`, "The password is changed. All other devices are logged out.")
	laptop.screenshot(t, "15-password-changed")
	if changed := laptop.token(t, true); token == confirmed || confirmed == changed {
		t.Error("the token has not been renewed")
	}
	phone.do(t, chromedp.WaitNotPresent(chromedp.CSS(`#devices`)))
	phone.open(t, app.url+"login", `#login`)
	phone.logIn(t, password, false, `#alert`)
	phone.logIn(t, another, false, `nav form[action="/logout"]`)
	phone.open(t, app.url+"password", `#change`)
	phone.screenshot(t, "16-password")

	// A login outlives the server, and an open page finds it again.
	laptop.do(t, chromedp.WaitVisible(chromedp.CSS(connected)))
	token = laptop.token(t, true)
	app.stop(t)
	laptop.do(t, chromedp.WaitVisible(chromedp.CSS(`#live[data-state="lost"]`)))
	laptop.screenshot(t, "17-connection-lost")
	app.start(t)
	laptop.do(t, chromedp.WaitVisible(chromedp.CSS(connected)))
	laptop.open(t, app.url+"devices", `#devices`)
	if laptop.token(t, true) != token {
		t.Error("the token has changed")
	}

	// Without its table the database does not answer. That ends no login.
	app.execute(t, "ALTER TABLE session_cache RENAME TO elsewhere")
	phone.open(t, app.url, `#alert`)
	phone.wantText(t, `#alert`, "We cannot answer at the moment. Please try again in a few seconds.")
	phone.screenshot(t, "18-unavailable")
	app.execute(t, "ALTER TABLE elsewhere RENAME TO session_cache")
	phone.open(t, app.url+"devices", connected)

	laptop.click(t, `form[action="/devices/logout-others"] button`, `.notice`)
	phone.do(t, chromedp.WaitNotPresent(chromedp.CSS(`#devices`)))
	laptop.click(t, `form[action="/logout"] button`, `#login`)
	if left := laptop.token(t, true); left != "" {
		t.Error("a cookie is left after the logout")
	}
	if visible := ask(t, laptop, chromedp.Evaluate[string](`document.cookie`)); visible != "" {
		t.Errorf("document.cookie is %q after the logout", visible)
	}
	laptop.open(t, app.url+"devices", `#login`)
}

// TestBrowserHeals: another host of the domain, or a former WithDomain, has left a second
// cookie of the name. The user cannot stay logged in; the next login removes it.
func TestBrowserHeals(t *testing.T) {
	t.Parallel()
	const host = "shop.localhost"
	app := newWebapp(t, host, "-insecure")
	app.start(t)
	for name, b := range map[string]*browser{"laptop": app.browser(t, 1100, 900), "phone": app.browser(t, 360, 740, chromedp.EmulateMobile)} {
		b.open(t, app.url+"login", `#login`)
		b.logIn(t, "first programmer 1843", false, `nav form[action="/logout"]`)
		_, err := chromedp.Call(b.ctx, network.SetCookie, network.SetCookieParams{Name: "session", Value: "planted", Domain: "." + host, Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		b.open(t, app.url+"devices", `#login`)
		b.wantText(t, `.notice`, "Your browser sent a login cookie that is not valid.")
		b.logIn(t, "first programmer 1843", false, `#devices`)
		b.open(t, app.url+"devices", `#devices`)
		cookies, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{})
		if err != nil {
			t.Fatal(err)
		}
		sessions := 0
		for _, cookie := range cookies.Cookies {
			if cookie.Name == "session" {
				sessions++
			}
		}
		if sessions != 1 {
			t.Errorf("%s has %d session cookies", name, sessions)
		}
	}
}

// connected is there once the page has its event stream.
const connected = `#live[data-state="connected"]`

// webapp is the example, as a process that is stopped and started.
type webapp struct {
	path, url string
	arguments []string
	pool      *pgxpool.Pool
	process   *exec.Cmd
}

// newWebapp builds the example. host is a name of the own machine.
func newWebapp(t *testing.T, host string, arguments ...string) *webapp {
	t.Helper()
	path := filepath.Join(t.TempDir(), "webapp")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./examples/webapp")
	build.Dir = ".."
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	database, port := sessiontest.NewDatabase(t).URL, freePort(t)
	app := &webapp{
		path: path, url: fmt.Sprintf("http://%s:%d/", host, port),
		arguments: append(arguments, "-addr", fmt.Sprintf("localhost:%d", port), "-database", database),
	}
	pool, err := pgxpool.New(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	app.pool = pool
	t.Cleanup(func() { app.stop(t) })
	return app
}

// start returns when the service is ready.
func (a *webapp) start(t *testing.T) {
	t.Helper()
	a.process = exec.Command(a.path, a.arguments...)
	a.process.Stderr = os.Stderr
	stdout, err := a.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.process.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("the webapp did not start: %v", err)
	}
}

func (a *webapp) stop(t *testing.T) {
	t.Helper()
	if err := a.process.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := a.process.Wait(); err != nil {
		t.Errorf("the webapp: %v", err)
	}
}

func (a *webapp) execute(t *testing.T, sql string) {
	t.Helper()
	if _, err := a.pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// named is a session's handle as a page shows it.
type named string

func (n named) String() string {
	return string(n)
}

// browser is a Chromium with a profile of its own.
type browser struct {
	ctx context.Context
}

func (a *webapp) browser(t *testing.T, width, height int, options ...chromedp.EmulateViewportOption) *browser {
	t.Helper()
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.WindowSize(width, height),
		chromedp.NoSandbox, // which root has not
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), flags...)
	t.Cleanup(stop)
	ctx, quit := chromedp.NewContext(allocator)
	t.Cleanup(quit)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(int64(width), int64(height), options...)); err != nil {
		t.Fatalf("%v: install it (apt-get install chromium)", err)
	}
	// The pages break no rule of their own Content-Security-Policy.
	err := chromedp.Listen(ctx, func(event any) {
		if entry, ok := event.(*log.EventEntryAdded); ok && entry.Entry.Source == log.EntrySourceSecurity {
			t.Errorf("%s: %s", entry.Entry.URL, entry.Entry.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return &browser{ctx}
}

// ask runs an action and returns what it found.
func ask[R any](t *testing.T, b *browser, action chromedp.Action[R]) R {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func (b *browser) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ask(t, b, chromedp.Steps(actions...))
}

// open goes to a page and waits until something is there.
func (b *browser) open(t *testing.T, url, shown string) {
	t.Helper()
	b.do(t, chromedp.Navigate(url), chromedp.WaitVisible(chromedp.CSS(shown)))
}

// click waits for the page that comes after it.
func (b *browser) click(t *testing.T, selector, shown string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		t.Fatal(err)
	}
	b.do(t, chromedp.WaitVisible(chromedp.CSS(shown)))
}

// submit types into a form's fields, each a selector and a text, and sends it.
func (b *browser) submit(t *testing.T, form, shown string, fields ...string) {
	t.Helper()
	for i := 0; i < len(fields); i += 2 {
		field := chromedp.CSS(form + " " + fields[i])
		b.do(t, chromedp.Clear(field), chromedp.SendKeys(field, fields[i+1]))
	}
	b.click(t, form+` button.main`, shown)
}

func (b *browser) logIn(t *testing.T, password string, remember bool, shown string) {
	t.Helper()
	if remember {
		b.do(t, chromedp.Click(chromedp.CSS(`#remember`)))
	}
	b.submit(t, `#login`, shown, `#email`, "ada@example.org", `#password`, password)
}

func (b *browser) dark(t *testing.T, dark bool) {
	t.Helper()
	scheme := ""
	if dark {
		scheme = "dark"
	}
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (b *browser) wantText(t *testing.T, selector, want string) {
	t.Helper()
	if got := ask(t, b, chromedp.Text(chromedp.CSS(selector))); got != want {
		t.Errorf("%s says %q; want %q", selector, got, want)
	}
}

// token is what the browser has in the session cookie, which only its developer
// tools see. It is to end with the browser unless it is to be remembered.
func (b *browser) token(t *testing.T, remembered bool) (token string) {
	t.Helper()
	result, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{})
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range result.Cookies {
		if cookie.Name == "__Host-session" {
			token = cookie.Value
			if !cookie.Secure || !cookie.HTTPOnly || cookie.SameSite != network.CookieSameSiteLax || cookie.Path != "/" || cookie.Session == remembered {
				t.Errorf("the session cookie is %+v", cookie)
			}
		}
	}
	return token
}

// screenshot also checks that nothing is cut off at the side.
func (b *browser) screenshot(t *testing.T, name string) {
	t.Helper()
	if !ask(t, b, chromedp.Evaluate[bool](`document.documentElement.scrollWidth <= document.documentElement.clientWidth &&
		[...document.querySelectorAll("a:not(.skip), button, input")].every((e) => e.getBoundingClientRect().right <= innerWidth)`)) {
		t.Errorf("%s: the page is wider than the window", name)
	}
	png := ask(t, b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(screenshots, name+".png"), png, 0o644); err != nil {
		t.Error(err)
	}
}
