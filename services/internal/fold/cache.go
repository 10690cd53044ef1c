package fold

// generation is how many states a cache's generation holds: a cache holds at most two.
// It is several times maxUncommitted, so that a state that is not yet committed is never dropped.
const generation = 8192

type entry struct {
	key   string
	state State
	dirty bool // touched since the last commit was built
	// touched is the sequence of the last message that touched it, or was folded next when it was loaded.
	touched uint64
}

// cache holds the states that were touched last, in two generations: a state that is touched moves to the young one;
// when that is full, the old one is dropped.
type cache struct {
	young, old map[string]*entry
	// complete says that the store has no state that the cache lacks.
	complete bool
}

func (c *cache) get(key string) *entry {
	if e := c.young[key]; e != nil {
		return e
	}
	if e := c.old[key]; e != nil {
		c.young[key] = e
		return e
	}
	return nil
}

func (c *cache) put(e *entry) {
	if c.young == nil {
		c.young = map[string]*entry{}
	}
	c.young[e.key] = e
}

// rotate begins a new generation if the young one is full. States that are not committed stay, as does key "".
func (c *cache) rotate(committed uint64) {
	if len(c.young) < generation {
		return
	}
	young := map[string]*entry{}
	for k, e := range c.old {
		if e.dirty || e.touched > committed || k == "" {
			if c.young[k] == nil {
				young[k] = e
			}
		} else if c.young[k] == nil {
			c.complete = false
		}
	}
	if e := c.young[""]; e != nil {
		young[""] = e
	}
	c.old, c.young = c.young, young
}
