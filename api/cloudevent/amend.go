package cloudevent

import (
	"bytes"
	"encoding/json"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Amend returns the event with what a publisher adds to it: source if the event has none, and history if that is true. It
// adds at the end and leaves every byte before as it is. What it cannot read it returns unchanged, for Decode to reject.
func Amend(body []byte, source string, history bool) []byte {
	if len(body) == 0 || source == "" && !history {
		return body
	}
	if ContentType(body) == ContentTypeJSON {
		return amendJSON(body, source, history)
	}
	return amendProtobuf(body, source, history)
}

func amendJSON(body []byte, source string, history bool) []byte {
	p := scanner{s: string(body)}
	ms, ok := p.members(nil, 0)
	if !ok || !p.end() {
		return body
	}
	for _, m := range ms {
		if m.Name == "source" && m.Kind != Null {
			source = ""
		}
	}
	head := bytes.TrimRight(body, " \t\r\n")
	head = head[:len(head)-1]
	out := append(make([]byte, 0, len(body)+64), head...)
	add := func(name, value string) {
		if len(ms) > 0 {
			out = append(out, ',')
		}
		out = append(strconv.AppendQuote(out, name), ':')
		out = append(out, value...)
		ms = append(ms, Member{})
	}
	if source != "" {
		quoted, _ := json.Marshal(source) // a text can always be marshalled
		add("source", string(quoted))
	}
	if history {
		add("history", "true")
	}
	return append(out, '}')
}

// amendProtobuf relies on the wire format: of what stands twice, the last counts.
func amendProtobuf(body []byte, source string, history bool) []byte {
	if !eachField(body, func(num protowire.Number, b []byte) bool {
		if num == 2 && len(b) > 0 {
			source = ""
		}
		return true
	}) {
		return body
	}
	out := append(make([]byte, 0, len(body)+64), body...)
	if source != "" {
		out = protowire.AppendTag(out, 2, protowire.BytesType)
		out = protowire.AppendString(out, source)
	}
	if history {
		value := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
		entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "history")
		entry = protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), value)
		out = protowire.AppendBytes(protowire.AppendTag(out, 5, protowire.BytesType), entry)
	}
	return out
}
