package cloudevent

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

var errWire = reject(malformed, "the event is neither JSON (it does not begin with {) nor a protobuf io.cloudevents.v1.CloudEvent")

// readProtobuf scans the wire format of io.cloudevents.v1.CloudEvent. As proto.Unmarshal does, it passes over what it does
// not know, and lets later values replace earlier ones.
func (v *envelope) readProtobuf(body []byte, e *Event) error {
	const (
		none = iota
		binary
		text
		message
	)
	var (
		which = none
		data  []byte
		any   anyMessage
		err   error
	)
	str := func(b []byte) Value { return Value{String, view(b)} }
	ok := eachField(body, func(num protowire.Number, b []byte) bool {
		if num <= 4 || num == 7 {
			if !utf8.Valid(b) {
				return false
			}
		}
		switch num {
		case 1:
			v.id = str(b)
		case 2:
			v.source = str(b)
		case 3:
			v.specVersion = str(b)
		case 4:
			v.typ = str(b)
		case 5:
			return v.readAttribute(b)
		case 6:
			which, data = binary, b
		case 7:
			which, data = text, b
		case 8:
			if which != message {
				which, any = message, anyMessage{}
			}
			return any.read(b)
		}
		return true
	})
	if !ok {
		return errWire
	}
	switch which {
	case none:
		return nil
	case message:
		v.proto = true
		if data, err = any.json(); err != nil {
			return err
		}
	}
	if !utf8.Valid(data) {
		return reject(malformed, "data is not valid UTF-8")
	}
	p := scanner{s: view(data)}
	if !v.readData(&p, e) || !p.end() {
		return errData
	}
	return nil
}

// readAttribute reads one entry of the map of attributes.
func (v *envelope) readAttribute(entry []byte) bool {
	var (
		name  string
		value attribute
	)
	ok := eachField(entry, func(num protowire.Number, b []byte) bool {
		switch num {
		case 1:
			name = view(b)
			return utf8.Valid(b)
		case 2:
			return value.read(b)
		}
		return true
	})
	if !ok {
		return false
	}
	if to := v.attribute(name); to != nil {
		*to = value.Value
		if name == "time" {
			v.instant, v.sec, v.nanos = value.instant, value.sec, value.nanos
		}
	}
	return true
}

// attribute is a CloudEventAttributeValue.
type attribute struct {
	Value
	instant    bool
	sec, nanos int64
}

func (a *attribute) read(b []byte) bool {
	for len(b) > 0 {
		num, typ, n := consumeTag(b)
		if n < 0 {
			return false
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return false
		}
		field := b[n : n+m]
		b = b[n+m:]
		switch {
		case typ == protowire.VarintType && (num == 1 || num == 2):
			x, _ := protowire.ConsumeVarint(field)
			if num == 1 {
				*a = attribute{Value: Value{Bool, strconv.FormatBool(x != 0)}}
			} else {
				*a = attribute{Value: Value{Kind: Number}} // no attribute that is read is an integer
			}
		case typ == protowire.BytesType && num >= 3 && num <= 7:
			s, _ := protowire.ConsumeBytes(field)
			switch {
			case num == 7:
				if !a.instant {
					*a = attribute{instant: true}
				}
				if !a.readTimestamp(s) {
					return false
				}
			case num == 4:
				*a = attribute{Value: Value{Kind: List}} // bytes: of no attribute's form
			case !utf8.Valid(s):
				return false
			default:
				*a = attribute{Value: Value{String, view(s)}}
			}
		}
	}
	return true
}

func (a *attribute) readTimestamp(b []byte) bool {
	for len(b) > 0 {
		num, typ, n := consumeTag(b)
		if n < 0 {
			return false
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return false
		}
		if typ == protowire.VarintType {
			switch x, _ := protowire.ConsumeVarint(b[n:]); num {
			case 1:
				a.sec = int64(x)
			case 2:
				a.nanos = int64(int32(x))
			}
		}
		b = b[n+m:]
	}
	return true
}

// anyMessage is a google.protobuf.Any.
type anyMessage struct {
	url   string
	value []byte
}

func (a *anyMessage) read(b []byte) bool {
	return eachField(b, func(num protowire.Number, b []byte) bool {
		switch num {
		case 1:
			a.url = view(b)
			return utf8.Valid(b)
		case 2:
			a.value = b
		}
		return true
	})
}

// json returns the JSON text of the google.protobuf.Struct in a, with names in byte order. It is the slow way to send data:
// binary_data and text_data are read in place.
func (a *anyMessage) json() ([]byte, error) {
	if a.url[strings.LastIndexByte(a.url, '/')+1:] != "google.protobuf.Struct" {
		return nil, reject(malformed, "proto_data must hold a google.protobuf.Struct: or give the data as JSON in binary_data or text_data")
	}
	var (
		s structpb.Struct
		b bytes.Buffer
	)
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if proto.Unmarshal(a.value, &s) != nil || enc.Encode(s.AsMap()) != nil {
		return nil, reject(malformed, "proto_data is not a valid google.protobuf.Struct")
	}
	return b.Bytes(), nil
}

// consumeTag is protowire.ConsumeTag, which lets numbers pass that no field may have: proto.Unmarshal refuses them.
func consumeTag(b []byte) (protowire.Number, protowire.Type, int) {
	num, typ, n := protowire.ConsumeTag(b)
	if num > protowire.MaxValidNumber {
		return num, typ, -1
	}
	return num, typ, n
}

// eachField calls f for every field of a message that has the wire type of texts, bytes and messages. It returns false if b
// is no message or f returned false.
func eachField(b []byte, f func(protowire.Number, []byte) bool) bool {
	for len(b) > 0 {
		num, typ, n := consumeTag(b)
		if n < 0 {
			return false
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return false
		}
		if typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b[n:])
			if !f(num, v) {
				return false
			}
		}
		b = b[n+m:]
	}
	return true
}
