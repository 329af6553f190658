package verify

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/pazzo-sessions/pazzo/redisstore/redistest"
)

// domainApps are the frameworks of examples/domain.
var domainApps = []string{"nethttp", "chi", "gin", "echo", "fiber", "django", "flask", "bottle", "starlette", "express", "fastify"}

// TestDomain drives the page of examples/domain in a real browser: several
// frameworks and languages, one cookie, one session.
func TestDomain(t *testing.T) {
	for _, over := range []struct {
		name string
		env  func(t *testing.T) []string
	}{
		{"agent", func(*testing.T) []string { return nil }},
		{"redis", func(t *testing.T) []string { return []string{"PAZZO_STORE=" + redistest.Start(t).URL()} }},
	} {
		t.Run(over.name, func(t *testing.T) {
			url := startDomain(t, over.env(t)...)
			t.Run("apps", func(t *testing.T) { domainSeesTheSame(t, url) })
			t.Run("storm", func(t *testing.T) { domainStorm(t, url) })
			t.Run("login", func(t *testing.T) { domainLogin(t, url) })
			t.Run("logout", func(t *testing.T) { domainLogout(t, url) })
		})
	}
}

// startDomain runs examples/domain on a free port and returns where it is. It must
// end cleanly with the test, and so all that it has started.
func startDomain(t *testing.T, env ...string) (url string) {
	t.Helper()
	domain := exec.Command("../examples/domain/run")
	var stderr bytes.Buffer
	domain.Stderr = &stderr
	domain.Env = append(append(os.Environ(), "ADDR=127.0.0.1:0"), env...)
	stdout, err := domain.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := domain.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		hard := time.AfterFunc(time.Minute, func() { domain.Process.Kill() })
		defer hard.Stop()
		if err := domain.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := domain.Wait(); err != nil {
			t.Errorf("the domain has not ended cleanly: %v", err)
		}
		if t.Failed() {
			t.Logf("it said:\n%s", stderr.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if url = regexp.MustCompile(`http://\S+`).FindString(line); url == "" {
		t.Fatalf("the domain does not say where it is: %q, %v\n%s", line, err, stderr.String())
	}
	return url
}

// What one app does, all see at once.
func domainSeesTheSame(t *testing.T, url string) {
	b := newTab(t)
	b.open(url)
	for i, app := range domainApps {
		next := domainApps[(i+1)%len(domainApps)]
		b.click(`tr[data-app=` + app + `] button[data-do=visit]`) // it makes a session
		b.until(domainRows(1, "1"))
		b.click(`tr[data-app=` + next + `] button[data-do=visit]`)
		b.until(domainRows(1, "2"))
		b.click(`tr[data-app=` + app + `] button[data-do=login]`)
		b.until(domainRows(0, "ann"))
		b.click(`tr[data-app=` + next + `] button[data-do=logout]`)
		b.until(domainRows(0, "nobody"))
	}
	if notice := eval[string](b, `notice.textContent`); notice != "" {
		t.Error(notice)
	}
}

// domainRows says that every row of the page has the text in the column.
func domainRows(column int, text string) string {
	return `[...document.querySelectorAll('#apps tbody tr')].filter((row) => row.cells[` + strconv.Itoa(column+1) +
		`].textContent === '` + text + `').length === ` + strconv.Itoa(len(domainApps))
}

// 2,000 fetches, 64 at a time, over all apps: none lost, and the cookie stays.
func domainStorm(t *testing.T, url string) {
	b := newTab(t)
	b.open(url)
	b.click(`tr[data-app=django] button[data-do=visit]`)
	b.until(domainRows(1, "1"))
	before := b.cookie()
	total := scale(2_000, 20_000)
	b.storm(total)
	b.until(`verdict.textContent`)
	t.Log(eval[string](b, `document.querySelector('.facts').innerText.replaceAll('\n', ' ')`))
	if got := b.count("acknowledged"); got != total {
		t.Errorf("%d of %d acknowledged: %s", got, total, eval[string](b, `verdict.textContent`))
	}
	if kept, lost := b.count("kept"), b.count("lost"); kept != total || lost != 0 {
		t.Errorf("%d kept, %d lost", kept, lost)
	}
	// The page keeps 64 under way; how many of them are with the apps is up to the machine.
	if peak := b.count("peak"); peak < len(domainApps) || peak > 72 {
		t.Errorf("%d in flight at most", peak)
	}
	if set := b.count("cookies"); set != 0 || b.cookie() != before {
		t.Errorf("the cookie changed: %d were set", set)
	}
}

// A login in Django in the midst of a storm.
func domainLogin(t *testing.T, url string) {
	b := newTab(t)
	b.open(url)
	b.click(`tr[data-app=flask] button[data-do=visit]`)
	b.until(domainRows(1, "1"))
	before := b.cookie()
	b.storm(2_000)
	b.until(`Number(document.querySelector('.bar output').textContent) > 50`)
	b.click(`tr[data-app=django] button[data-do=login]`)
	b.until(`verdict.textContent`)
	t.Log(eval[string](b, `verdict.textContent`))
	if kept, acknowledged := b.count("kept"), b.count("acknowledged"); kept != acknowledged || acknowledged < 1_000 {
		t.Errorf("%d kept of %d acknowledged", kept, acknowledged)
	}
	b.until(domainRows(0, "ann"))
	if b.cookie() == before {
		t.Error("the login has not renewed the cookie")
	}
	for _, app := range domainApps {
		if status := writeWith(t, url, app, before); status != http.StatusConflict {
			t.Errorf("%s takes the token from before the login: %d", app, status)
		}
		if status := writeWith(t, url, app, b.cookie()); status != http.StatusOK {
			t.Errorf("%s answers %d to the token of the login", app, status)
		}
	}
}

// A logout in Flask in the midst of a storm.
func domainLogout(t *testing.T, url string) {
	b := newTab(t)
	b.open(url)
	b.click(`tr[data-app=starlette] button[data-do=login]`)
	b.until(domainRows(0, "ann"))
	before := b.cookie()
	b.storm(2_000)
	b.until(`Number(document.querySelector('.bar output').textContent) > 50`)
	b.click(`tr[data-app=flask] button[data-do=logout]`)
	b.until(`verdict.textContent`)
	b.until(domainRows(0, "nobody"))
	for _, app := range domainApps {
		if status := writeWith(t, url, app, before); status != http.StatusConflict {
			t.Errorf("%s takes the token of the session that has ended: %d", app, status)
		}
	}
}

func (b *tab) storm(total int) {
	b.Helper()
	b.do(chromedp.SetValue(chromedp.CSS("#total"), strconv.Itoa(total)), chromedp.SetValue(chromedp.CSS("#once"), "64"))
	b.click("#run")
}

func (b *tab) count(id string) int {
	b.Helper()
	n, err := strconv.Atoi(strings.ReplaceAll(eval[string](b, id+`.textContent`), ",", ""))
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// cookie returns the session's cookie, which no script can read.
func (b *tab) cookie() (value string) {
	b.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		answer, err := cdp.Call(ctx, t, network.GetCookies, network.GetCookiesParams{})
		if err != nil {
			return err
		}
		for _, c := range answer.Cookies {
			if c.Name == "session" {
				value = c.Value
			}
		}
		return nil
	}))
	return value
}

// writeWith returns an app's status for a write with a token, as a page sends it.
func writeWith(t *testing.T, url, app, token string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/"+app+"/inc?k=late", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(&http.Cookie{Name: "session", Value: token})
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}
