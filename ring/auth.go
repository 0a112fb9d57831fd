// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// AuthHeader carries "v1;<member>;<unix seconds>;<base64 of the signature>". It
	// is not Authorization, which the basic auth of the internal listener uses.
	AuthHeader = "X-Penstock-Auth"

	authVersion = "v1"
	// authSkewMax is how far the clocks of two members may be apart. It also is for
	// how long a request that was overheard can be sent again.
	authSkewMax = 15 * time.Minute
	// authKeyInfo separates the key for requests from the one for gossip.
	authKeyInfo = "penstock requests between members v1"
)

// Auth signs and checks HTTP requests between members with a key derived from
// the cluster key. The signature covers the method, the request URI, the name of
// the sender and the time: it proves that a member made such a request. It does
// not cover headers and body, and hides nothing; that is what TLS on the
// internal listener is for. Safe for concurrent use.
type Auth struct {
	key      []byte // nil: insecure
	member   string
	failures *prometheus.CounterVec
	now      func() time.Time
}

var (
	errAuthMissing   = errors.New("missing")
	errAuthMalformed = errors.New("malformed")
	errAuthSkew      = errors.New("skew")
	errAuthSignature = errors.New("signature")
)

// NewAuth returns the Auth of a member. Without a key, requests are neither
// signed nor checked.
func NewAuth(key []byte, member string, reg prometheus.Registerer) *Auth {
	a := &Auth{member: member, now: time.Now, failures: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "penstock_internal_auth_failures_total",
		Help: "Requests to the internal listener that did not prove to come from a member.",
	}, []string{"reason"})}
	for _, err := range []error{errAuthMissing, errAuthMalformed, errAuthSkew, errAuthSignature} {
		a.failures.WithLabelValues(err.Error())
	}
	if reg != nil {
		reg.MustRegister(a.failures)
	}
	if len(key) > 0 {
		derived, err := hkdf.Key(sha256.New, key, nil, authKeyInfo, sha256.Size)
		if err != nil {
			panic(fmt.Sprintf("BUG: derive request key: %v", err)) // Only for a length that HKDF cannot give.
		}
		a.key = derived
	}
	return a
}

// RoundTripper signs each request before it passes it to next.
func (a *Auth) RoundTripper(next http.RoundTripper) http.RoundTripper {
	if a.key == nil {
		return next
	}
	return signer{a, next}
}

type signer struct {
	auth *Auth
	next http.RoundTripper
}

// RoundTrip works on a copy: a RoundTripper must not change its request.
func (s signer) RoundTrip(r *http.Request) (*http.Response, error) {
	signed := r.Clone(r.Context())
	signed.Header.Set(AuthHeader, s.auth.sign(r.Method, r.URL.RequestURI()))
	return s.next.RoundTrip(signed)
}

// Middleware answers 401 to requests that no member signed, before their body is
// read.
func (a *Auth) Middleware(next http.Handler) http.Handler {
	if a.key == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.check(r.Method, r.RequestURI, r.Header.Get(AuthHeader)); err != nil {
			a.failures.WithLabelValues(err.Error()).Inc()
			http.Error(w, authHint(err), http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// authHint tells the operator of a member what to look at, and a stranger nothing.
func authHint(err error) string {
	if errors.Is(err, errAuthSkew) {
		return fmt.Sprintf("unauthorized: the clocks of the two members are more than %s apart", authSkewMax)
	}
	return "unauthorized: not signed with the key of this cluster; give every member the same --cluster.key-file"
}

func (a *Auth) sign(method, uri string) string {
	unix := strconv.FormatInt(a.now().Unix(), 10)
	mac := base64.RawURLEncoding.EncodeToString(a.mac(method, uri, a.member, unix))
	return strings.Join([]string{authVersion, a.member, unix, mac}, ";")
}

func (a *Auth) check(method, uri, header string) error {
	if header == "" {
		return errAuthMissing
	}
	parts := strings.Split(header, ";")
	if len(parts) != 4 || parts[0] != authVersion {
		return errAuthMalformed
	}
	member, unix := parts[1], parts[2]
	mac, err := base64.RawURLEncoding.DecodeString(parts[3])
	if err != nil {
		return errAuthMalformed
	}
	// The signature goes first: nothing that is not signed is worth an opinion.
	if !hmac.Equal(mac, a.mac(method, uri, member, unix)) {
		return errAuthSignature
	}
	seconds, err := strconv.ParseInt(unix, 10, 64)
	if err != nil {
		return errAuthMalformed
	}
	if skew := a.now().Sub(time.Unix(seconds, 0)); skew.Abs() > authSkewMax {
		return errAuthSkew
	}
	return nil
}

// mac signs the parts one a line. None can hold a newline: Go's HTTP parser lets
// no such method or URI through, a header value cannot have one, and the member
// and time are header parts.
func (a *Auth) mac(method, uri, member, unix string) []byte {
	h := hmac.New(sha256.New, a.key)
	for _, part := range []string{authVersion, method, uri, member, unix} {
		h.Write([]byte(part + "\n"))
	}
	return h.Sum(nil)
}
