package document

import "strings"

// Nearest returns the word that s most likely stands for: at most a third of its letters, or one, and not all of them
// differ. "" if there is none.
func Nearest(s string, words []string) string {
	if len(s) > 64 {
		return ""
	}
	best, distance := "", max(1, len(s)/3)+1
	for _, w := range words {
		if d := editDistance(strings.ToLower(s), strings.ToLower(w)); d < distance && d < max(len(s), len(w)) {
			best, distance = w, d
		}
	}
	return best
}

// editDistance counts the letters to insert, delete, change or swap with their neighbour to make b of a.
func editDistance(a, b string) int {
	if len(a) == 0 || len(b) == 0 {
		return len(a) + len(b)
	}
	before := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
