package recipes_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
	"github.com/rhaptos/sessiondb/systemtest/recipes"
)

// TestBrowserOIDC has Chromium log in: it decides which POST has the cookie, and whether the
// page may post again by its script. localhost and 127.0.0.1 are different sites.
func TestBrowserOIDC(t *testing.T) {
	t.Parallel()
	needBrowser(t)
	var service, provider *httptest.Server
	posted := make(chan string, 10)
	provider = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, port, _ := net.SplitHostPort(service.Listener.Addr().String())
		fmt.Fprintf(w, `<!DOCTYPE html><form method="post" action="http://localhost:%s/oidc/back"><input name="code" value="code"><input name="state" value="%s"></form>
			<script>document.forms[0].submit()</script>`, port, r.FormValue("state"))
	}))
	t.Cleanup(provider.Close)
	address, err := url.Parse(provider.URL + "/authorize")
	if err != nil {
		t.Fatal(err)
	}
	recipe := recipes.OIDC(sessiontest.NewPool(t), *address, func(context.Context, string, string) (string, error) { return "Ada", nil })
	service = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			_, _ = fmt.Fprint(w, `<!DOCTYPE html><form method="post" action="/oidc/begin"><button>Log in</button></form>`)
			return
		case "/oidc/back", "/oidc/finish":
			_, err := r.Cookie("__Host-session")
			posted <- fmt.Sprintf("%s %s %s, with the cookie: %t", r.URL.Path, r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin"), err == nil)
		}
		recipe.ServeHTTP(w, r)
	}))
	t.Cleanup(service.Close)
	_, port, _ := net.SplitHostPort(service.Listener.Addr().String())

	allocator, stop := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU)...)
	defer stop()
	ctx, quit := chromedp.NewContext(allocator)
	defer quit()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = chromedp.Do(ctx, chromedp.Steps(chromedp.Navigate("http://localhost:"+port+"/"), chromedp.Click(chromedp.CSS("button"))))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"/oidc/back cross-site " + provider.URL + ", with the cookie: false",
		"/oidc/finish same-origin http://localhost:" + port + ", with the cookie: true",
	} {
		select {
		case got := <-posted:
			if got != want {
				t.Errorf("the browser has posted %q; want %q", got, want)
			}
		case <-ctx.Done():
			t.Fatalf("the browser has not posted %q", want)
		}
	}
	text := ""
	for !strings.Contains(text, "The account of Ada.") && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
		// While a page replaces another, there may be none to ask.
		text, err = chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	}
	if ctx.Err() != nil {
		t.Errorf("the browser shows %q, %v; want the account", text, err)
	}
}

// needBrowser fails where there is no Chromium.
func needBrowser(t *testing.T) {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if _, err := exec.LookPath(name); err == nil {
			return
		}
	}
	t.Fatal("there is no Chromium: install it (apt-get install chromium)")
}
