package cloudevent

import "testing"

func TestValidTraceParent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for s, want := range map[string]bool{
		good: true, "": false, good + "-": false, good[:54]: false, "01" + good[2:]: false,
		"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": false, "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01": false,
		"00-dana@acme.example-------------------b7ad6b7169203331-01": false,
	} {
		if got := ValidTraceParent(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}
