package benchmark

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// Known says whether there is a part of that name.
func Known(part string) bool { return slices.Contains(Parts, part) }

// processes are the columns of the page, in order; what belongs to Baton or to another consumer is "go".
var processes = []string{"nats", "redis", "go"}

// Write writes the report for people.
func (r *Report) Write(w io.Writer) error {
	fmt.Fprintf(w, "%d events of %d bytes about %d leads, 16 shards, 30 rules; medians of %d rounds; %s, %d processors shared by all processes\n\n",
		r.Events, r.EventBytes, r.Leads, r.Rounds, r.System, r.Processors)
	if len(r.Parts) > 0 {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprint(t, "events/s\tof the limit\tby CPU\tCPU µs an event: nats\tredis\tgo\tpeak MiB: nats\tredis\tgo\t\n")
		for _, p := range r.Parts {
			fmt.Fprintf(t, "%.0f\t%s\t%s\t", p.Rate, percent(p.Share), percent(p.ShareByCPU))
			for _, name := range processes {
				fmt.Fprintf(t, "%.1f\t", column(p.CPU, name))
			}
			for _, name := range processes {
				fmt.Fprintf(t, "%.0f\t", float64(column(p.Memory, name))/(1<<20))
			}
			fmt.Fprintf(t, "  %s\n", p.Title)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if p := r.part(partScorer); p != nil {
		fmt.Fprintf(w, "one lead takes %.0f bytes of Redis's memory\n", p.PerLead)
	}
	for _, l := range r.Latency {
		fmt.Fprintf(w, "publish to offer at %d events/s, sync_interval %s: p50 %.1f ms, p99 %.1f ms, longest %.1f ms (%d offers)\n",
			l.Rate, l.SyncInterval, l.P50, l.P99, l.Max, l.Offers)
		fmt.Fprint(w, "  processors used:")
		for _, name := range slices.Sorted(maps.Keys(l.CPU)) {
			fmt.Fprintf(w, " %s %.2f", name, l.CPU[name])
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	for _, g := range r.Goals {
		word := "met    "
		if !g.Met {
			word = "NOT MET"
		}
		fmt.Fprintf(w, "%s  %s: %.2f\n", word, g.Text, g.Got)
	}
	return nil
}

// column sums up what belongs to a column.
func column[N uint64 | float64](by map[string]N, name string) (sum N) {
	for n, v := range by {
		if n == name || name == "go" && !slices.Contains(processes, n) {
			sum += v
		}
	}
	return sum
}

func percent(share float64) string {
	if share == 0 {
		return "-"
	}
	return strings.TrimSpace(fmt.Sprintf("%.0f%%", 100*share))
}
