package node

import (
	"encoding/binary"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The API server speaks protobuf and JSON. Decoding a Node costs a fifteenth of
// the time in protobuf, because what is not read is stepped over. The numbers below
// are those of generated.proto in k8s.io/api/core/v1 and apimachinery's meta/v1; a
// number never gets another meaning.

// Reset empties the Node: what the protobuf decoder of apimachinery asks for
// before Unmarshal.
func (n *Node) Reset() { *n = Node{} }

// Unmarshal reads a Node from protobuf.
func (n *Node) Unmarshal(data []byte) error {
	return eachField(data, func(number int32, value []byte) error {
		switch number {
		case 1:
			return unmarshalMeta(&n.ObjectMeta, value)
		case 2:
			return text(value, 3, &n.Spec.ProviderID)
		case 3:
			return n.Status.unmarshal(value)
		}
		return nil
	})
}

// unmarshalMeta reads what trim keeps. Unmarshal of apimachinery would copy the
// managed fields too, half of the Node.
func unmarshalMeta(m *metav1.ObjectMeta, data []byte) error {
	return eachField(data, func(number int32, value []byte) error {
		switch number {
		case 1:
			m.Name = string(value)
		case 5:
			m.UID = types.UID(value)
		case 6:
			m.ResourceVersion = string(value)
		case 11:
			return addEntry(&m.Labels, value)
		case 12:
			return addEntry(&m.Annotations, value)
		}
		return nil
	})
}

// addEntry reads one entry of a map of strings.
func addEntry(m *map[string]string, data []byte) error {
	var key, value string
	err := errors.Join(text(data, 1, &key), text(data, 2, &value))
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[key] = value
	return err
}

func (s *NodeStatus) unmarshal(data []byte) error {
	return eachField(data, func(number int32, value []byte) error {
		switch number {
		case 5:
			var a NodeAddress
			err := errors.Join(text(value, 1, &a.Type), text(value, 2, &a.Address))
			s.Addresses = append(s.Addresses, a)
			return err
		case 7:
			return text(value, 2, &s.NodeInfo.SystemUUID)
		}
		return nil
	})
}

// Reset empties the list.
func (l *nodeList) Reset() { *l = nodeList{} }

// Unmarshal reads a list of Nodes from protobuf.
func (l *nodeList) Unmarshal(data []byte) error {
	return eachField(data, func(number int32, value []byte) error {
		switch number {
		case 1:
			return l.ListMeta.Unmarshal(value)
		case 2:
			l.Items = append(l.Items, Node{})
			return l.Items[len(l.Items)-1].Unmarshal(value)
		}
		return nil
	})
}

// text reads the string of that number in a message, if it is there.
func text(data []byte, number int32, into *string) error {
	return eachField(data, func(n int32, value []byte) error {
		if n == number {
			*into = string(value)
		}
		return nil
	})
}

var errCutShort = errors.New("protobuf: cut short")

// Wire types.
const (
	variable   = 0 // a number of its own length
	eightBytes = 1
	sized      = 2 // text, or a message
	fourBytes  = 5
)

// eachField gives take each field of a protobuf message that is a string or a
// message itself, in order, and steps over numbers
// (https://protobuf.dev/programming-guides/encoding).
func eachField(data []byte, take func(number int32, value []byte) error) error {
	for len(data) > 0 {
		key, n := binary.Uvarint(data)
		if n <= 0 {
			return errCutShort
		}
		data = data[n:]
		var size uint64
		kind := key & 7
		switch kind {
		case variable:
			_, n = binary.Uvarint(data)
			size = uint64(n)
		case eightBytes:
			size = 8
		case sized:
			size, n = binary.Uvarint(data)
			data = data[max(n, 0):]
		case fourBytes:
			size = 4
		default:
			return fmt.Errorf("protobuf: wire type %d", kind)
		}
		if n <= 0 || size > uint64(len(data)) {
			return errCutShort
		}
		if kind == sized {
			if err := take(int32(key>>3), data[:size]); err != nil {
				return err
			}
		}
		data = data[size:]
	}
	return nil
}
