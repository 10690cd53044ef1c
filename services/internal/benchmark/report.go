package benchmark

import (
	"slices"
	"time"
)

// Report is what a run found.
type Report struct {
	System     string    `json:"system"`
	Processors int       `json:"processors"`
	Events     int       `json:"events"`
	EventBytes int       `json:"bytesPerEvent"`
	Leads      int       `json:"leads"`
	Rounds     int       `json:"rounds"`
	Parts      []*Part   `json:"parts"`
	Latency    []Latency `json:"latency"`
	Goals      []Goal    `json:"goals"`
}

// Part is what one part of the backlog found: medians over the rounds.
type Part struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// Rates are the events a second of each round, Rate their median.
	Rates []float64 `json:"rounds"`
	Rate  float64   `json:"eventsPerSecond"`
	// Share is Rate as a share of the bare consume's; 0 where that is not measured.
	Share float64 `json:"shareOfConsume,omitempty"`
	// ShareByCPU is the processor time that a bare consume takes for an event as a share of what this part takes: what
	// Share would be if nothing else ran on the machine, and all processes kept all processors busy.
	ShareByCPU float64 `json:"shareOfConsumeByCPU,omitempty"`
	// CPU is microseconds an event by process, Memory the most resident bytes.
	CPU    map[string]float64 `json:"cpuMicrosecondsPerEvent"`
	Memory map[string]uint64  `json:"peakResidentBytes"`
	// Growth is a scorer's resident memory after the backlog as a multiple of that after half of it, when most leads have been seen.
	Growth float64 `json:"memoryGrowth,omitempty"`
	// PerLead is the bytes of Redis's memory that a lead takes.
	PerLead float64 `json:"redisBytesPerLead,omitempty"`

	samples []sample
}

// partTitles say in words what a part is.
var partTitles = map[string]string{
	partConsume:  "limit: bare ordered push consume",
	partScorer:   "Baton, one scorer",
	partScorers:  "Baton, two scorers",
	partWrite:    "limit: the same bytes by variadic HSET",
	partTextbook: "textbook: a script and an ack per event",
	partAgainst:  "the other program",
	partUp:       "baton up, everything embedded",
}

func (r *Report) add(name string, s sample) {
	i := slices.IndexFunc(r.Parts, func(p *Part) bool { return p.Name == name })
	if i < 0 {
		r.Parts, i = append(r.Parts, &Part{Name: name, Title: partTitles[name]}), len(r.Parts)
	}
	r.Parts[i].samples = append(r.Parts[i].samples, s)
}

func (r *Report) part(name string) *Part {
	i := slices.IndexFunc(r.Parts, func(p *Part) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return r.Parts[i]
}

// Goal is something that is to hold, and whether it does.
type Goal struct {
	Text string  `json:"goal"`
	Want float64 `json:"want"`
	Got  float64 `json:"got"`
	Met  bool    `json:"met"`
}

// The goals.
const (
	wantShare    = 0.6  // of the bare consume
	wantTextbook = 5    // times the textbook
	wantGrowth   = 1.5  // of memory, from half of the backlog to its end
	wantP99      = 20.0 // ms
	wantEmbedded = 0.6  // of the separate processes
)

// judge takes the medians and says which goals are met.
func (r *Report) judge() {
	for _, p := range r.Parts {
		p.summarise()
	}
	consume, scorer, textbook, up := r.part(partConsume), r.part(partScorer), r.part(partTextbook), r.part(partUp)
	if consume != nil {
		for _, p := range r.Parts {
			p.Share, p.ShareByCPU = p.Rate/consume.Rate, consume.cpu()/max(p.cpu(), 0.001)
		}
	}
	least := func(text string, want, got float64) {
		r.Goals = append(r.Goals, Goal{text, want, got, got >= want})
	}
	most := func(text string, want, got float64) {
		r.Goals = append(r.Goals, Goal{text, want, got, got <= want})
	}
	if scorer != nil && consume != nil {
		least("at least 60% of the bare consume", wantShare, scorer.Share)
	}
	if scorer != nil && textbook != nil {
		least("at least 5 times the textbook", wantTextbook, scorer.Rate/textbook.Rate)
	}
	if scorer != nil {
		most("memory flat: at the end at most 1.5 times that after half", wantGrowth, scorer.Growth)
	}
	if up != nil && scorer != nil {
		least("embedded at least 60% of separate processes", wantEmbedded, up.Rate/scorer.Rate)
	}
	for _, l := range r.Latency {
		most("p99 from publishing to the offer under 20 ms, sync_interval "+l.SyncInterval, wantP99, l.P99)
	}
}

// cpu is the microseconds an event of all processes together.
func (p *Part) cpu() (sum float64) {
	for _, v := range p.CPU {
		sum += v
	}
	return sum
}

func (p *Part) summarise() {
	p.CPU, p.Memory = map[string]float64{}, map[string]uint64{}
	names := map[string]bool{}
	var growth, perLead []float64
	for _, s := range p.samples {
		p.Rates = append(p.Rates, float64(s.Events)/s.Seconds)
		for name := range s.CPU {
			names[name] = true
		}
		if s.Half > 0 {
			growth = append(growth, float64(s.End)/float64(s.Half))
		}
		perLead = append(perLead, s.PerLead)
	}
	p.Rate, p.Growth, p.PerLead = median(p.Rates), median(growth), median(perLead)
	for name := range names {
		var each []float64
		for _, s := range p.samples {
			each = append(each, float64(s.CPU[name])/float64(time.Microsecond)/float64(s.Events))
			p.Memory[name] = max(p.Memory[name], s.Peak[name])
		}
		p.CPU[name] = median(each)
	}
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
