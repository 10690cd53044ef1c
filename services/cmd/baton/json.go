package main

import (
	"bytes"
	"encoding/json"
	"io"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// protoJSON is how messages are written for programs: lists and zeros are there, absent messages are not.
var protoJSON = protojson.MarshalOptions{EmitDefaultValues: true}

// writeJSON writes a message as one indented document.
func writeJSON(w io.Writer, m proto.Message) error {
	return encodeJSON(w, m, func(dst *bytes.Buffer, src []byte) error { return json.Indent(dst, src, "", "  ") })
}

// writeJSONLine writes a message as one line.
func writeJSONLine(w io.Writer, m proto.Message) error { return encodeJSON(w, m, json.Compact) }

// encodeJSON writes with spaces of our own: protojson's change from build to build.
func encodeJSON(w io.Writer, m proto.Message, space func(dst *bytes.Buffer, src []byte) error) error {
	b, err := protoJSON.Marshal(m)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := space(&out, b); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = w.Write(out.Bytes())
	return err
}

// writeValue writes what no public message describes.
func writeValue(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
