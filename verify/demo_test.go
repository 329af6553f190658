package verify

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// side is what the page shows of one of its two sessions.
type side struct {
	Kept, Acknowledged, Lost   int
	KeptCells, LostCells       int
	BarsKept, BarsAcknowledged int
}

func (b *tab) side(id string) side {
	b.Helper()
	return eval[side](b, `(() => {
		const root = document.getElementById('`+id+`');
		const number = (name) => Number(root.querySelector('[data-' + name + ']').textContent.replaceAll(',', ''));
		const bars = [...root.querySelectorAll('.count')].map((bar) => bar.textContent.split('/').map(Number));
		const sum = (k) => bars.reduce((total, bar) => total + bar[k], 0);
		return {
			Kept: number('kept'), Acknowledged: number('acknowledged'), Lost: number('lost'),
			KeptCells: root.querySelectorAll('.is-kept').length, LostCells: root.querySelectorAll('.is-lost').length,
			BarsKept: sum(0), BarsAcknowledged: sum(1),
		};
	})()`)
}

// lines are what the page says of a race.
func (b *tab) lines(race, side string) (all, bad string) {
	b.Helper()
	at := `[...document.querySelectorAll('#` + race + ` [data-side=` + side + `] .lines `
	return eval[string](b, at+`li')].map((li) => li.textContent).join('\n')`),
		eval[string](b, at+`.is-bad')].map((li) => li.textContent).join('\n')`)
}

func (b *tab) fact(name string) string {
	b.Helper()
	return eval[string](b, `document.querySelector('[data-fact=`+name+`]').textContent`)
}

// The demo's page in a real browser: the numbers on it are the ones that count.
func TestDemo(t *testing.T) {
	url := startDemo(t)

	t.Run("storm", func(t *testing.T) { demoStorm(t, url) })
	t.Run("races", func(t *testing.T) { demoRaces(t, url) })
	t.Run("session", func(t *testing.T) { demoSession(t, url) })
	t.Run("keyboard", func(t *testing.T) { demoKeyboard(t, url) })
	t.Run("phone", func(t *testing.T) { demoPhone(t, url) })
	t.Run("preferences", func(t *testing.T) { demoPreferences(t, url) })
}

// TestDemoPython has Django and Flask take part in the storm.
func TestDemoPython(t *testing.T) {
	url := startDemo(t, "-python")
	b := newTab(t) // which is closed before the demo ends
	b.open(url)
	if text := eval[string](b, `document.getElementById('apps').textContent`); text != "one on net/http, one on chi, one on Django, one on Flask" {
		t.Errorf("the page names the apps: %s", text)
	}
	b.do(chromedp.SetValue(chromedp.CSS("#total"), "400"), chromedp.SetValue(chromedp.CSS("#once"), "100"))
	b.click("#run")
	b.until(`verdict.textContent`)
	if pazzo := b.side("pazzo"); pazzo.Kept != 400 || pazzo.Acknowledged != 400 || pazzo.Lost != 0 {
		t.Errorf("Pazzo: %+v", pazzo)
	}
	if classic := b.side("classic"); classic.Lost == 0 {
		t.Errorf("the classic session has lost nothing: %+v", classic)
	}
}

// The storm: every number and picture on the page, and what the server measured.
func demoStorm(t *testing.T, url string) {
	b := newTab(t)
	b.open(url)
	// Notes each number that the page shows on its way.
	eval[bool](b, `(() => {
		window.shown = new Set();
		const number = document.querySelector('#pazzo [data-acknowledged]');
		new MutationObserver(() => window.shown.add(number.textContent)).observe(number, { childList: true });
		return true;
	})()`)
	b.do(chromedp.SetValue(chromedp.CSS("#total"), "600"), chromedp.SetValue(chromedp.CSS("#once"), "200"))
	b.click("#run")
	b.until(`verdict.textContent`)

	pazzo, classic := b.side("pazzo"), b.side("classic")
	peak := eval[string](b, `peak.textContent`)
	t.Logf("in flight at most %s; Pazzo %+v; classic %+v", peak, pazzo, classic)
	if want := (side{600, 600, 0, 600, 0, 600, 600}); pazzo != want {
		t.Errorf("Pazzo: %+v, want %+v", pazzo, want)
	}
	if classic.Acknowledged != 600 || classic.Lost == 0 || classic.Kept+classic.Lost != 600 {
		t.Errorf("the classic session has lost nothing, or does not add up: %+v", classic)
	}
	if classic.KeptCells != classic.Kept || classic.LostCells != classic.Lost || classic.BarsKept != classic.Kept || classic.BarsAcknowledged != 600 {
		t.Errorf("the picture of the classic session does not fit its numbers: %+v", classic)
	}
	if n, err := strconv.Atoi(peak); err != nil || n < 100 || n > 200 {
		t.Errorf("the server measured %q in flight, want 100 to 200", peak)
	}
	if shown := eval[int](b, `window.shown.size`); shown < 4 {
		t.Errorf("the page drew %d states of the storm: not live", shown)
	}
	if verdict := eval[string](b, `verdict.textContent`); !strings.Contains(verdict, "Pazzo kept all 600") || !strings.Contains(verdict, "lost "+strconv.Itoa(classic.Lost)) {
		t.Errorf("the verdict: %s", verdict)
	}
	// The stream brings the same numbers from the store.
	b.until(`[...document.querySelectorAll('.fields tr')].filter((row) => row.cells[1].textContent === '75').length === 8`)
}

// The two races, in the words of the page.
func demoRaces(t *testing.T, url string) {
	b := newTab(t)
	b.open(url)
	b.click("#logout button")
	b.until(`document.querySelectorAll('#logout .lines').length === 2`)
	all, bad := b.lines("logout", "pazzo")
	t.Logf("logout, Pazzo:\n%s", all)
	if bad != "" || !strings.Contains(all, "Each was told that the session has ended") || !strings.Contains(all, "The session stays ended. ann is logged out.") {
		t.Errorf("Pazzo at a logout:\n%s", all)
	}
	all, bad = b.lines("logout", "classic")
	t.Logf("logout, classic:\n%s", all)
	if !strings.Contains(bad, "after the logout") || !strings.Contains(bad, "ann is still logged in") {
		t.Errorf("the classic session at a logout:\n%s", all)
	}

	b.click("#login button")
	b.until(`document.querySelectorAll('#login .lines').length === 2`)
	all, bad = b.lines("login", "pazzo")
	t.Logf("login, Pazzo:\n%s", all)
	if bad != "" || !strings.Contains(all, "ann is logged in.") || !strings.Contains(all, "All 24 acknowledged items are in the cart.") {
		t.Errorf("Pazzo at a login:\n%s", all)
	}
	all, bad = b.lines("login", "classic")
	t.Logf("login, classic:\n%s", all)
	if !strings.Contains(bad, "ann is not logged in any more") || !strings.Contains(bad, "Of 24 acknowledged items") {
		t.Errorf("the classic session at a login:\n%s", all)
	}
	if strokes := eval[int](b, `document.querySelectorAll('#login .stroke').length`); strokes != 48 {
		t.Errorf("the picture has %d strokes, want 48", strokes)
	}
}

// The session on the page follows the one in the store.
func demoSession(t *testing.T, url string) {
	b := newTab(t)
	b.open(url)
	b.until(`stream.textContent === 'Live'`)
	handle, revision := b.fact("handle"), b.fact("revision")
	b.click("[data-do=add]")
	b.until(`document.querySelector('[data-field=apples] td')?.textContent === '1'`)
	if now := b.fact("revision"); now == revision {
		t.Errorf("the revision is still %s after a write", now)
	}
	if generation := b.fact("generation"); generation != "1" {
		t.Errorf("generation %s, want 1", generation)
	}
	b.click("[data-do=login]")
	b.until(`document.querySelector('[data-fact=user]').textContent.startsWith('ann, since ')`)
	if generation := b.fact("generation"); generation != "2" {
		t.Errorf("generation %s after a login, want 2", generation)
	}
	if now := b.fact("handle"); now != handle {
		t.Errorf("the login has changed the handle from %s to %s", handle, now)
	}
	b.click("[data-do=logout]")
	b.until(`stream.textContent.startsWith('No session')`)
	b.click("[data-do=add]")
	b.until(`stream.textContent === 'Live'`)
	b.until(`document.querySelector('[data-fact=user]').textContent === 'nobody'`)
	if now := b.fact("handle"); now == handle {
		t.Error("the session is the one that has ended")
	}
}

// Everything works without a mouse.
func demoKeyboard(t *testing.T, url string) {
	b := newTab(t)
	b.open(url)
	focused := func(want string) {
		t.Helper()
		if got := eval[string](b, `document.activeElement.id || document.activeElement.parentElement.parentElement.id`); got != want {
			t.Errorf("the focus is on %q, want %q", got, want)
		}
		if outline := eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`); outline == "none" {
			t.Errorf("the focus on %s cannot be seen", want)
		}
	}
	retype := func(text string) {
		b.do(chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)), chromedp.KeyEvent(text))
	}
	b.do(chromedp.KeyEvent(kb.Tab))
	focused("total")
	retype("48")
	b.do(chromedp.KeyEvent(kb.Tab))
	focused("once")
	retype("24")
	b.do(chromedp.KeyEvent(kb.Tab))
	focused("run")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until(`verdict.textContent`)
	focused("run")
	if pazzo := b.side("pazzo"); pazzo.Kept != 48 || pazzo.Acknowledged != 48 {
		t.Errorf("Pazzo: %+v", pazzo)
	}
	b.do(chromedp.KeyEvent(kb.Tab))
	focused("logout")
	b.do(chromedp.KeyEvent(" "))
	b.until(`document.querySelectorAll('#logout .lines').length === 2`)
	focused("logout")
	if live := eval[int](b, `document.querySelectorAll('[role=status]').length`); live < 4 {
		t.Errorf("%d live regions", live)
	}
	if bare := eval[int](b, `[...document.querySelectorAll('input')].filter((input) => !input.labels.length).length`); bare != 0 {
		t.Errorf("%d inputs have no label", bare)
	}
}

// Nothing is wider than a small phone, or too small for a finger.
func demoPhone(t *testing.T, url string) {
	b := newTab(t)
	b.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile))
	b.open(url)
	b.do(chromedp.SetValue(chromedp.CSS("#total"), "1000"), chromedp.SetValue(chromedp.CSS("#once"), "240"))
	b.click("#run")
	b.until(`verdict.textContent`)
	for _, race := range []string{"logout", "login"} {
		b.click("#" + race + " button")
		b.until(`document.querySelectorAll('#` + race + ` .lines').length === 2`)
	}
	if width := eval[int](b, `document.documentElement.scrollWidth`); width != 360 {
		t.Errorf("the page is %d wide on a screen of 360", width)
	}
	wide := eval[string](b, `[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 360.5).map((e) => e.tagName + '.' + (e.className.baseVal ?? e.className)).slice(0, 5).join(' ')`)
	if wide != "" {
		t.Errorf("beyond the right edge: %s", wide)
	}
	if low := eval[int](b, `[...document.querySelectorAll('button, input')].filter((e) => e.getBoundingClientRect().height < 40).length`); low != 0 {
		t.Errorf("%d controls are too low for a finger", low)
	}
	if pazzo := b.side("pazzo"); pazzo.Kept != 1000 || pazzo.KeptCells != 1000 {
		t.Errorf("Pazzo: %+v", pazzo)
	}
}

// Light and dark have enough contrast, and reduced motion is respected.
func demoPreferences(t *testing.T, url string) {
	b := newTab(t)
	b.open(url)
	colour := func(name string) string {
		t.Helper()
		return eval[string](b, `getComputedStyle(document.documentElement).getPropertyValue('--`+name+`').trim()`)
	}
	for _, scheme := range []string{"light", "dark"} {
		b.prefer("prefers-color-scheme", scheme)
		for _, text := range []string{"ink", "soft", "kept", "lost"} {
			if ratio := contrast(t, colour(text), colour("paper")); ratio < 4.5 {
				t.Errorf("%s: the contrast of %s is %.2f, want 4.5 or more", scheme, text, ratio)
			}
		}
		if ratio := contrast(t, colour("on-accent"), colour("kept")); ratio < 4.5 {
			t.Errorf("%s: the contrast on a button is %.2f, want 4.5 or more", scheme, ratio)
		}
		dark := luminance(t, colour("paper")) < 0.1
		if dark != (scheme == "dark") {
			t.Errorf("%s: the paper is %s", scheme, colour("paper"))
		}
	}
	b.prefer("prefers-reduced-motion", "reduce")
	b.click("[data-do=add]")
	b.until(`document.querySelector('.is-changed')`)
	if name := eval[string](b, `getComputedStyle(document.querySelector('.is-changed')).animationName`); name != "none" {
		t.Errorf("with reduced motion there is still an animation, %s", name)
	}
}

// contrast is the ratio of two colours by WCAG 2.2.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	la, lb := luminance(t, a), luminance(t, b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(hex, "#"), 16, 32)
	if err != nil || len(hex) != 7 {
		t.Fatalf("%q is not a colour", hex)
	}
	channel := func(shift int) float64 {
		c := float64(n>>shift&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(16) + 0.7152*channel(8) + 0.0722*channel(0)
}
