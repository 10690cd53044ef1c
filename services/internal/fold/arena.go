package fold

const (
	arenaBlock = 64 << 10
	arenaKept  = 128 // blocks that are used again
)

// arena holds the values of one commit, in blocks that are used again for the next.
type arena struct {
	blocks [][]byte
	at     int // block that is being filled
}

// keep copies a value, which stays as it is until reset.
func (a *arena) keep(value []byte) []byte {
	for ; a.at < len(a.blocks); a.at++ {
		if b := a.blocks[a.at]; cap(b)-len(b) >= len(value) {
			break
		}
	}
	if a.at == len(a.blocks) {
		a.blocks = append(a.blocks, make([]byte, 0, max(arenaBlock, len(value))))
	}
	b := &a.blocks[a.at]
	from := len(*b)
	*b = append(*b, value...)
	return (*b)[from:len(*b):len(*b)]
}

// reset frees all values.
func (a *arena) reset() {
	if len(a.blocks) > arenaKept {
		clear(a.blocks[arenaKept:])
		a.blocks = a.blocks[:arenaKept]
	}
	for i, b := range a.blocks {
		a.blocks[i] = b[:0]
		if cap(b) > arenaBlock {
			a.blocks[i] = make([]byte, 0, arenaBlock)
		}
	}
	a.at = 0
}
