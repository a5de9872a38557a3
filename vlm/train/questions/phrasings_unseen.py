"""Wordings that training never uses: they show whether a model understood the question or its wording."""

UNSEEN = {
    "colour": (
        "Could you say which colour {ref} is?", "{ref} is painted in what colour?",
        "Do you know the colour of {ref}?", "Which colour would you call {ref}?",
        "What is the paint on {ref}, which colour?",
    ),
    "shape": (
        "Could you say which shape {ref} is?", "{ref} looks like what shape?",
        "Do you know the shape of {ref}?", "Which shape would you call {ref}?",
        "What form does {ref} take, which shape?",
    ),
    "size": (
        "Could you say how big {ref} is?", "Do you know the size of {ref}?",
        "Would you call {ref} small, medium or large?", "Of what size is {ref}?", "{ref} is of which size?",
    ),
    "pattern": (
        "Could you say which pattern {ref} has?", "Do you know the pattern on {ref}?",
        "With what pattern is {ref} filled?", "{ref} shows which pattern?",
        "Would you call {ref} plain, striped, dotted or outlined?",
    ),
    "count": (
        "Could you count the {nouns} for me?", "What number of {nouns} do you see?",
        "How many {nouns} did you find?", "Do you know how many {nouns} there are?",
        "The picture has how many {nouns}?",
    ),
    "count_of": (
        "Could you count the {things} for me?", "What number of {things} do you see?",
        "How many {things} did you find?", "Do you know how many {things} there are?",
        "The picture has how many {things}?",
    ),
    "exists": (
        "Could you check if there is {a}?", "Is there by any chance {a}?", "Would you say there is {a}?",
        "Does {a} appear here?", "Have you spotted {a}?",
    ),
    "where": (
        "Could you say where {ref} is?", "Whereabouts is {ref}?", "Do you know where {ref} is?",
        "At what place is {ref}?", "{ref} is in which part of the picture?",
    ),
    "relation_yes": (
        "Could you check if {ref} is {side} {other}?", "Am I right that {ref} is {side} {other}?",
        "Have you seen {ref} {side} {other}?", "Is {ref} really {side} {other}?",
        "Do we see {ref} {side} {other}?",
    ),
    "relation_side": (
        "Could you say if {ref} is {pair} {other}?", "Do you know whether {ref} is {pair} {other}?",
        "Is {ref} found {pair} {other}?", "Looking from {other}, is {ref} {options}?",
        "Do we see {ref} {pair} {other}?",
    ),
    "relation_where": (
        "Could you say where {ref} is relative to {other}?", "Looking from {other}, where is {ref}?",
        "Where would you find {ref} from {other}?", "How does {ref} stand to {other}?",
        "Do you know where {ref} is relative to {other}?",
    ),
    "nearest": (
        "Could you say which {noun} is nearest to {ref}?", "Which {noun} has the shortest way to {ref}?",
        "Do you know what is closest to {ref}?", "Which is the closest {noun} to {ref}?",
        "What would you find nearest to {ref}?",
    ),
    "between": (
        "Could you say what is between {ref} and {other}?",
        "Do you know which {noun} is between {ref} and {other}?",
        "Which {noun} separates {ref} and {other}?", "Going from {ref} to {other}, which {noun} is between?",
        "In between {ref} and {other}, what is there?",
    ),
    "most_colour": (
        "Could you say the colour of the {most} {noun}?", "Of which colour is the {most} {noun}?",
        "What colour do you see on the {most} {noun}?", "Do you know the colour of the {most} {noun}?",
        "The colour of the {most} {noun} is what?",
    ),
    "most_shape": (
        "Could you say the shape of the {most} object?", "Of which shape is the {most} thing?",
        "What shape do you see in the {most} object?", "Do you know the shape of the {most} thing?",
        "The shape of the {most} object is what?",
    ),
    "most_name": (
        "Could you name the {most} {noun}?", "Do you know which {noun} is the {most}?",
        "Of all {nouns}, which is the {most}?", "Pick the {most} {noun}. What is it?",
        "What would you call the {most} {noun}?",
    ),
    "background": (
        "Could you say the colour of the background?", "On what colour are the objects drawn?",
        "Do you know the background colour?", "Of which colour is the background?",
        "What colour fills the background?",
    ),
    "read": (
        "Could you read {ref} for me?", "What has been written here?", "What is the text?",
        "Which characters are in the picture?", "What letters or digits are here?",
    ),
    "read_one": (
        "Could you read {ref} for me?", "What has been written in {ref}?", "What text is {ref}?",
        "Do you know what {ref} says?", "What letters or digits does {ref} have?",
    ),
    "box": (
        "Could you give me the bounding box of {ref}?", "Return the box of {ref} as JSON.",
        "What box encloses {ref}?", "Frame {ref} with a bounding box.", "I need the bounding box of {ref}.",
    ),
    "point": (
        "Could you point at {ref}?", "Return a point on {ref} as JSON.", "Touch {ref}.",
        "I need the coordinates of {ref}.", "Which point is the centre of {ref}?",
    ),
    "describe": (
        "Could you describe the picture for me?", "What have we got in this picture?",
        "Put the picture into words.", "Explain what is in the image.", "What is there to see?",
    ),
    "video_direction": (
        "Could you say which way {ref} moves?", "Do you know where {ref} is heading?",
        "{ref} moves in which direction?", "What is the direction {ref} takes?",
        "Which way is {ref} heading?",
    ),
    "video_which": (
        "Could you say which {noun} moves?", "Do you know what is moving?", "Of the {nouns}, which moves?",
        "Which {noun} travels?", "What is it that moves?",
    ),
    "video_moves": (
        "Could you check if {ref} moves?", "Have you seen {ref} move?", "Does {ref} travel?",
        "Do you know if {ref} moves?", "Is {ref} on the move?",
    ),
    "appears": (
        "Could you say what appears?", "Which {noun} turns up?", "What is it that appears?",
        "Do you know which {noun} appears?", "Which {noun} pops up?",
    ),
    "disappears": (
        "Could you say what disappears?", "Which {noun} is no longer there?", "What is it that disappears?",
        "Do you know which {noun} disappears?", "Which {noun} leaves?",
    ),
    "video_first": (
        "Could you say what happens first?", "Of the changes, which is first?",
        "Do you know what happens first?", "What was the first to happen?", "To begin with, what happens?",
    ),
    "video_count": (
        "Could you count the moving {nouns} for me?", "What number of {nouns} move?",
        "Do you know how many {nouns} move?", "How many {nouns} travel?",
        "How many {nouns} are on the move?",
    ),
    "video_start": (
        "Could you count the {nouns} at the start for me?", "With how many {nouns} does it begin?",
        "Do you know how many {nouns} there were at first?", "What number of {nouns} is there at the start?",
        "How many {nouns} did we begin with?",
    ),
    "video_end": (
        "Could you count the {nouns} at the end for me?", "With how many {nouns} does it finish?",
        "Do you know how many {nouns} there were at the end?", "What number of {nouns} is there at the end?",
        "How many {nouns} remain?",
    ),
    "video_describe": (
        "Could you describe the video for me?", "Put the video into words.",
        "Explain what happens in the video.", "What took place?", "What is this video about?",
    ),
    "compare_count": (
        "Could you say which picture has more {nouns}?", "Of the pictures, which has more {nouns}?",
        "Which picture holds more {nouns}?", "More {nouns}: first or second picture?",
        "Who has more {nouns}, first or second?",
    ),
    "compare_colour": (
        "Could you check if both {nouns} have one colour?", "Is the colour of the two {nouns} equal?",
        "Do the two {nouns} share a colour?", "Does the colour stay the same from picture to picture?",
        "Have the two {nouns} the same colour?",
    ),
    "compare_shape": (
        "Could you check if both objects have one shape?", "Is the shape of the two objects equal?",
        "Do the two objects share a shape?", "Does the shape stay the same from picture to picture?",
        "Have the two objects the same shape?",
    ),
    "compare_exists": (
        "Could you say which picture has {a}?", "Of the pictures, which shows {a}?",
        "Which picture contains {a}?", "{a}: first or second picture?",
        "Where did you see {a}, first or second picture?",
    ),
    "compare_colour_in": (
        "Could you say what colour {ref} is in the {nth} picture?",
        "{ref} in the {nth} picture has which colour?",
        "Do you know the colour of {ref} in the {nth} picture?", "Of picture {nth}, what colour is {ref}?",
        "As for the {nth} picture, what colour is {ref}?",
    ),
    "compare_count_in": (
        "Could you count the {nouns} in the {nth} picture?", "The {nth} picture has how many {nouns}?",
        "Do you know how many {nouns} are in the {nth} picture?",
        "What number of {nouns} is in the {nth} picture?",
        "As for the {nth} picture, how many {nouns} are there?",
    ),
    "follow_colour": ("Which colour has it got?", "And do you know its colour?", "Of what colour is it?"),
    "follow_shape": ("Which shape has it got?", "And do you know its shape?", "Of what shape is it?"),
    "follow_size": ("And how large is it?", "And do you know its size?", "Of what size is it?"),
    "follow_pattern": (
        "Which pattern has it got?", "And do you know its pattern?", "With what pattern is it filled?",
    ),
    "follow_where": ("And whereabouts?", "In which part is it?", "Do you know where it is?"),
    "follow_box": ("What box encloses it?", "And the box, please?", "Return its bounding box."),
    "follow_direction": ("Where is it heading?", "And where to?", "What direction does it take?"),
    "follow_exists": ("Maybe {a}?", "Is {a} there as well?", "Then {a}?"),
    "follow_count_of": ("Now the {things}?", "And the number of {things}?", "Then {things}, how many?"),
}
