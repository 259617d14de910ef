package nodetest

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	restwatch "k8s.io/client-go/rest/watch"
)

// bodyLimit is the API server's limit for a request body, in bytes.
const bodyLimit = 3 << 20

// A codec reads and writes objects in one media type.
type codec struct {
	info   runtime.SerializerInfo
	codecs runtime.NegotiatedSerializer
}

// negotiate picks the first media type of an Accept header that is known. What
// comes with a transformation (as=Table) is not. If none is, the codec is JSON,
// for the error.
func (s *Server) negotiate(accept string) (codec, error) {
	if accept == "" {
		accept = "*/*"
	}
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil || params["as"] != "" {
			continue
		}
		if media == "*/*" || media == "application/*" {
			media = runtime.ContentTypeJSON
		}
		if c, ok := s.codec(media); ok {
			return c, nil
		}
	}
	c, _ := s.codec(runtime.ContentTypeJSON)
	return c, status(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
		"only JSON and protobuf are served, not "+accept)
}

func (s *Server) codec(media string) (codec, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.onlyJSON && media != runtime.ContentTypeJSON {
		return codec{}, false
	}
	info, ok := runtime.SerializerInfoForMediaType(s.codecs.SupportedMediaTypes(), media)
	return codec{info, s.codecs.WithoutConversion()}, ok && info.StreamSerializer != nil
}

// decode reads a request body of the given content type into obj.
func (s *Server) decode(r *http.Request, obj runtime.Object) error {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // a bad one is unknown below
	c, ok := s.codec(media)
	if !ok {
		return status(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
			"the body of the request was in an unknown format: "+media)
	}
	body, err := readBody(r)
	if err != nil {
		return err
	}
	got, gvk, err := c.codecs.DecoderToVersion(c.info.Serializer, corev1.SchemeGroupVersion).Decode(body, nil, obj)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if got != obj {
		return apierrors.NewBadRequest("unexpected kind " + gvk.String())
	}
	return nil
}

func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit+1))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if len(body) > bodyLimit {
		return nil, apierrors.NewRequestEntityTooLargeError("limit is " + strconv.Itoa(bodyLimit))
	}
	return body, nil
}

func (c codec) write(w http.ResponseWriter, code int, obj runtime.Object) error {
	data, err := runtime.Encode(c.encoder(c.info.Serializer), obj)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", c.info.MediaType)
	w.WriteHeader(code)
	_, _ = w.Write(data) // the client is gone: nobody to tell
	return nil
}

// writeError sends err as a Status, as the API server does with every error.
func (c codec) writeError(w http.ResponseWriter, err error) {
	st := statusOf(err)
	if st.Details != nil && st.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(st.Details.RetryAfterSeconds)))
	}
	if err := c.write(w, int(st.Code), &st); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// stream begins a watch answer. Objects are framed as the media type demands:
// by length in protobuf, one after the other in JSON.
func (c codec) stream(w http.ResponseWriter) *restwatch.Encoder {
	media := c.info.MediaType
	if !c.info.StreamSerializer.EncodesAsText {
		media += ";stream=watch"
	}
	w.Header().Set("Content-Type", media)
	w.WriteHeader(http.StatusOK)
	frames := streaming.NewEncoder(c.info.StreamSerializer.Framer.NewFrameWriter(w), c.encoder(c.info.StreamSerializer.Serializer))
	return restwatch.NewEncoder(frames, c.encoder(c.info.Serializer))
}

func (c codec) encoder(s runtime.Encoder) runtime.Encoder {
	return c.codecs.EncoderForVersion(s, corev1.SchemeGroupVersion)
}

func errorEvent(err error) watch.Event {
	st := statusOf(err)
	return watch.Event{Type: watch.Error, Object: &st}
}

func status(code int32, reason metav1.StatusReason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message,
	}}
}

func statusOf(err error) metav1.Status {
	if e, ok := errors.AsType[*apierrors.StatusError](err); ok {
		return e.Status()
	}
	return apierrors.NewInternalError(err).Status()
}
