package otctest

import (
	"net/http"
	"strings"
)

// A Shape is one of the forms in which the cloud writes an error.
type Shape int

// Values of Shape. The zero value leaves the choice to the code and the service.
const (
	ShapeDefault Shape = iota
	ShapeIAM           // {"error":{"code":401,"message":…,"title":…}}
	ShapeIAMCode       // {"error_code":…,"error_msg":…}
	ShapeVPC           // {"code":…,"message":…}
	ShapeECS           // {"error":{"code":…,"message":…}}
	ShapeNova          // {"itemNotFound":{"code":404,"message":…}}
	ShapeAPIGW         // {"error_code":…,"error_msg":…,"request_id":…}
	ShapeMessage       // {"message":…,"request_id":…}
	ShapeHTML          // a proxy's page
	ShapeEmpty         // nothing
)

// fail returns an error. Empty code and message are filled in.
func (c *call) fail(shape Shape, status int, code, message string) answer {
	if code == "" {
		code = usualCode(c.service, status)
	}
	if message == "" {
		message = text(code, status)
	}
	if shape == ShapeDefault {
		shape = shapeOf(c.service, code)
	}
	switch shape {
	case ShapeHTML:
		return c.raw(status, "text/html", []byte("<html><body><h1>"+http.StatusText(status)+"</h1></body></html>"))
	case ShapeEmpty:
		return c.raw(status, "text/plain", nil)
	}
	return c.reply(status, c.errorBody(shape, status, code, message))
}

func (c *call) errorBody(shape Shape, status int, code, message string) object {
	if c.knobs.SwapCode && shape == ShapeECS {
		code, message = message, code
	}
	switch shape {
	case ShapeIAM:
		return object{"error": object{"code": status, "message": message, "title": http.StatusText(status)}}
	case ShapeIAMCode:
		return object{"error_code": code, "error_msg": message}
	case ShapeECS:
		return object{"error": object{"code": code, "message": message}}
	case ShapeNova:
		return object{novaKey(status): object{"code": status, "message": message}}
	case ShapeAPIGW:
		return object{"error_code": code, "error_msg": message, "request_id": c.requestID}
	case ShapeMessage:
		return object{"message": message, "request_id": c.requestID}
	}
	return object{"code": code, "message": message}
}

func shapeOf(service, code string) Shape {
	switch prefix, _, _ := strings.Cut(code, "."); prefix {
	case "APIGW", "APIG":
		return ShapeAPIGW
	case "IAM":
		return ShapeIAMCode
	case "VPC":
		return ShapeVPC
	case "Ecs", "Common", "Pdp":
		return ShapeECS
	}
	if service == serviceIAM {
		return ShapeIAM
	}
	return ShapeVPC
}

func novaKey(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "badRequest"
	case http.StatusForbidden:
		return "forbidden"
	case http.StatusNotFound:
		return "itemNotFound"
	case http.StatusTooManyRequests:
		return "overLimit"
	}
	return "computeFault"
}

// usualCode returns the code that most likely comes with a status, and "" where
// IAM writes none.
func usualCode(service string, status int) string {
	common := map[int]string{
		http.StatusTooManyRequests: "APIGW.0308", http.StatusBadGateway: "APIGW.0610",
		http.StatusServiceUnavailable: "APIGW.0613", http.StatusGatewayTimeout: "APIGW.0201",
	}
	switch service {
	case serviceIAM:
		return map[int]string{http.StatusGone: "IAM.0020", http.StatusTooManyRequests: "IAM.0012",
			http.StatusInternalServerError: "IAM.0006"}[status]
	case serviceECS:
		common[http.StatusAccepted] = "Common.0024"
		common[http.StatusBadRequest] = "Ecs.0005"
		common[http.StatusUnauthorized] = "Common.0013"
		common[http.StatusForbidden] = "Pdp.0001"
		common[http.StatusNotFound] = "Ecs.0114"
		common[http.StatusInternalServerError] = "Common.0001"
	default:
		common[http.StatusBadRequest] = "VPC.2809"
		common[http.StatusUnauthorized] = "VPC.0008"
		common[http.StatusForbidden] = "VPC.2201"
		common[http.StatusNotFound] = "VPC.2808"
		common[http.StatusConflict] = "VPC.0105"
		common[http.StatusInternalServerError] = "VPC.0105"
	}
	if code, ok := common[status]; ok {
		return code
	}
	return "APIGW.0201"
}

// text returns the message of a code; clients must not depend on its wording.
func text(code string, status int) string {
	switch code {
	case "VPC.0008", "Common.0013":
		return "Invalid token in the header."
	case "APIGW.0101":
		return "The API does not exist or has not been published in the environment"
	case "APIGW.0301":
		return "Incorrect IAM authentication information: decrypt token fail"
	case "APIGW.0307":
		return "The token must be updated"
	case "IAM.0061":
		return "The account is locked."
	case "IAM.0062":
		return "Incorrect password."
	case "Common.0024":
		return "Flow limit exceeded."
	}
	return http.StatusText(status)
}

// notFound is the answer of the front end to a path that is no API.
func (c *call) notFound() answer {
	if strings.Contains(c.Path, "//") {
		return c.fail(ShapeMessage, http.StatusNotFound, "", "API not found")
	}
	return c.fail(ShapeAPIGW, http.StatusNotFound, "APIGW.0101", "")
}
