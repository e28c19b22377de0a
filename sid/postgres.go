package sid

import (
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5/pgtype"
)

// pgx sends an argument in binary if it knows the parameter's type, and otherwise as text
// (QueryExecModeExec, QueryExecModeSimpleProtocol). Both types below implement both
// forms: neither has to be registered on a connection, and pgx uses no reflection.
var (
	_ pgtype.UUIDValuer  = ID{}
	_ pgtype.UUIDScanner = (*ID)(nil)
	_ pgtype.TextValuer  = ID{}
	_ pgtype.ArrayGetter = IDs(nil)
	_ pgtype.TextValuer  = IDs(nil)
	_ driver.Valuer      = IDs(nil)
)

// UUIDValue implements [pgtype.UUIDValuer].
func (id ID) UUIDValue() (pgtype.UUID, error) {
	return pgtype.UUID{Bytes: id, Valid: true}, nil
}

// ScanUUID implements [pgtype.UUIDScanner]. NULL is an error: every session has an id.
func (id *ID) ScanUUID(v pgtype.UUID) error {
	if !v.Valid {
		return errors.New("cannot scan NULL into sid.ID")
	}
	*id = v.Bytes
	return nil
}

// TextValue implements [pgtype.TextValuer].
func (id ID) TextValue() (pgtype.Text, error) {
	return pgtype.Text{String: id.String(), Valid: true}, nil
}

// IDs is a list of ids, sent as a PostgreSQL array. A nil IDs is sent as an empty array,
// not as NULL, because a comparison with ALL (NULL) matches nothing.
type IDs []ID

// Dimensions implements [pgtype.ArrayGetter].
func (ids IDs) Dimensions() []pgtype.ArrayDimension {
	return []pgtype.ArrayDimension{{Length: int32(len(ids)), LowerBound: 1}}
}

// Index implements [pgtype.ArrayGetter]. It returns a pointer, which is stored in an
// interface without an allocation.
func (ids IDs) Index(i int) any {
	return &ids[i]
}

// IndexType implements [pgtype.ArrayGetter].
func (ids IDs) IndexType() any {
	return (*ID)(nil)
}

// TextValue implements [pgtype.TextValuer] with the array's literal, {a,b}.
func (ids IDs) TextValue() (pgtype.Text, error) {
	return pgtype.Text{String: ids.literal(), Valid: true}, nil
}

// Value implements [driver.Valuer] with the array's literal. pgx calls it only for a nil
// IDs, which it would otherwise send as NULL.
func (ids IDs) Value() (driver.Value, error) {
	return ids.literal(), nil
}

func (ids IDs) literal() string {
	literal := make([]byte, 0, len("{}")+len(ids)*(canonicalLength+len(",")))
	literal = append(literal, '{')
	for i, id := range ids {
		if i > 0 {
			literal = append(literal, ',')
		}
		literal = append(literal, id.String()...)
	}
	return string(append(literal, '}'))
}
