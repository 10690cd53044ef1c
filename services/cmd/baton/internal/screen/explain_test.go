package screen

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	leadv1 "github.com/leadbaton/baton/api/gen/baton/lead/v1"
)

// Whoever adds up the column of points, as shown, gets the total, as shown.
func TestShownLinesAddUpToTheShownTotal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &leadv1.Explanation{Agreement: "b2b", Score: &leadv1.Score{}}
		total := int64(0)
		for range rapid.IntRange(0, 12).Draw(t, "lines") {
			n := rapid.Int64Range(-200_000, 200_000).Draw(t, "thousandths")
			total += n
			e.Contributions = append(e.Contributions, &leadv1.Contribution{
				Kind: leadv1.Contribution_KIND_ENGAGEMENT, Rule: "r", Points: float64(n) / 1000, Unfaded: 200, Count: 1,
			})
		}
		e.Score.Total = float64(total) / 1000
		thousandths := rapid.Bool().Draw(t, "to the thousandth")
		var b bytes.Buffer
		New(&b, time.Unix(0, 0), false).Explain(&leadv1.ExplainResponse{Lead: &leadv1.Lead{}, Explanations: []*leadv1.Explanation{e}}, thousandths)
		sum, shown, found := 0.0, 0.0, false
		for line := range strings.Lines(b.String()) {
			fields := strings.Fields(line)
			if len(fields) < 2 {
				continue
			}
			v, err := strconv.ParseFloat(fields[0], 64)
			switch {
			case err != nil:
			case fields[1] == "score":
				shown, found = v, true
			default:
				sum += v
			}
		}
		if !found || math.Abs(sum-shown) > 1e-6 {
			t.Fatalf("the lines add up to %v:\n%s", sum, b.String())
		}
		if !thousandths && math.Abs(shown-e.GetScore().GetTotal()) > 0.0501 {
			t.Fatalf("the total is %v:\n%s", e.GetScore().GetTotal(), b.String())
		}
	})
}
