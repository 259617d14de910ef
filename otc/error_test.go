package otc

import (
	"strings"
	"testing"
	"unicode/utf8"

	"otc-route-manager/otc/otctest"
)

// The services write errors in five shapes, with code a number or a string.
func TestDecodeError(t *testing.T) {
	for _, tt := range []struct {
		name, body             string
		code, message, request string
	}{
		{"VPC", `{"code":"VPC.0008","message":"Invalid token in the header."}`, "VPC.0008", "Invalid token in the header.", ""},
		{"VPC with a null", `{"code":"VPC.0008","message":"Invalid.","extra":null}`, "VPC.0008", "Invalid.", ""},
		{"IAM, inner", `{"error":{"code":401,"message":"Unauthorized.","title":"Unauthorized"}}`, "401", "Unauthorized.", ""},
		{"IAM, code as text", `{"error":{"code":"401","message":"Unauthorized.","title":"Unauthorized"}}`, "401", "Unauthorized.", ""},
		{"IAM, flat", `{"error_msg":"Incorrect password.","error_code":"IAM.0062"}`, "IAM.0062", "Incorrect password.", ""},
		{"gateway", `{"error_msg":"No such API","error_code":"APIGW.0101","request_id":"4c1f"}`, "APIGW.0101", "No such API", "4c1f"},
		{"gateway without a code", `{"message":"API not found","request_id":"9e20"}`, "", "API not found", "9e20"},
		{"gateway without an id", `{"message":"API not found","request_id":""}`, "", "API not found", ""},
		{"ECS", `{"error":{"code":"Ecs.0114","message":"Instance[x] could not be found."}}`, "Ecs.0114", "Instance[x] could not be found.", ""},
		{"ECS, swapped", `{"error":{"code":"Request body is invalid.","message":"Ecs.0005"}}`, "Ecs.0005", "Request body is invalid.", ""},
		{"ECS, details", `{"error":{"message":"x","code":"Ecs.0000","details":[{"code":"Ecs.0030","message":"y"}]}}`, "Ecs.0000", "x", ""},
		{"ECS, id outside", `{"error":{"code":"Ecs.0000","message":"x"},"request_id":"77aa"}`, "Ecs.0000", "x", "77aa"},
		{"compute", `{"itemNotFound":{"message":"Instance could not be found.","code":404}}`, "itemNotFound", "Instance could not be found.", ""},
		{"compute, forbidden", `{"forbidden":{"message":"Policy doesn't allow it.","code":403}}`, "forbidden", "Policy doesn't allow it.", ""},
		{"error goes first", `{"a":{"message":"wrong","code":1},"error":{"code":"Ecs.0001","message":"right"},"z":{"message":"wrong","code":1}}`, "Ecs.0001", "right", ""},
		{"then the alphabet", `{"z":{"message":"wrong","code":1},"a":{"message":"right","code":1}}`, "a", "right", ""},
		{"a code alone", `{"code":"VPC.0008"}`, "VPC.0008", "", ""},
	} {
		code, message, request, ok := decodeError([]byte(tt.body))
		if !ok || code != tt.code || message != tt.message || request != tt.request {
			t.Errorf("%s: got %q, %q, %q; want %q, %q, %q", tt.name, code, message, request, tt.code, tt.message, tt.request)
		}
	}
}

// The same body gives the same error each time.
func TestDecodeErrorIsStable(t *testing.T) {
	body := []byte(`{"b":{"code":1,"message":"2"},"a":{"code":1,"message":"1"},"c":{"code":1,"message":"3"},"d":{"code":1,"message":"4"}}`)
	for range 100 {
		if code, message, _, _ := decodeError(body); code != "a" || message != "1" {
			t.Fatalf("got %q, %q; want a, 1", code, message)
		}
	}
}

// Code and message are swapped in one documented ECS answer.
func TestSwappedCodeOnTheWire(t *testing.T) {
	w := newWorld(t)
	w.Set(func(k *otctest.Knobs) { k.SwapCode = true })
	_, err := w.client.Server(t.Context(), two)
	if !IsNotFound(err) {
		t.Errorf("got %v, want no such server", err)
	}
}

func TestMessagesAreShortAndOnOneLine(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", 400), strings.Repeat("ü", 400), strings.Repeat("a b\n\t", 200), "\xff\xfe" + strings.Repeat("\x80", 400)} {
		got := clip(s)
		if len(got) > 300 || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\t") {
			t.Errorf("got %d bytes: %q", len(got), got)
		}
	}
	if got := clip(" a\n b "); got != "a b" {
		t.Errorf("got %q", got)
	}
}

func TestIsCode(t *testing.T) {
	for s, want := range map[string]bool{"VPC.2812": true, "Ecs.0114": true, "APIGW.0101": true, "IAM.0061": true,
		"": false, ".": false, "VPC.": false, ".0101": false, "VPC 2812": false, "done. 3": false, "v1.x": false, "401": false} {
		if got := isCode(s); got != want {
			t.Errorf("%q: got %v, want %v", s, got, want)
		}
	}
}
